/*
 * How a node earns MASTER: sessions, one claim, promises and the kernel's gate, over an unreliable network.
 * What is left out, the results and the counterexamples in words are in docs/safety/model.md.
 *
 * Checked
 *   EXCL   never two gates open (flag set and deadline ahead) at the same instant
 *   FENCE  a gate never opens, or stays open by promises, with an epoch below one that opened a gate before
 *   EPOCH  every change of holder in the register raises the epoch (unless the store lost its data)
 *   OWN    a gate opens only under a live session and a claim won by this incarnation's own swap
 *
 * How to read it
 *   - One `node` process per node and one `world` (time, store, network). Every option of their loops is one
 *     indivisible step, and no step ever has to be taken: a node that takes none is frozen, starved or
 *     stopped; a message that takes none is delayed. Only time and the kernel's deadline are reliable.
 *     A crash is followed by the restart in the same step: being down is the same as being frozen first.
 *   - A timer holds the ticks that REMAIN. A deadline counted from the send is a renewal that is worth L
 *     when it is sent and less when its answer comes.
 *   - L is the lease in true ticks on the slowest clock the design allows, WAIT the contender's W on the
 *     fastest. W = 1.10 L exists so that WAIT >= L. A better clock only makes somebody wait longer, and
 *     waiting longer is always possible here.
 *   - A version is known only by what became of it: it is the register's current one (CUR), or it is not.
 *     Values are unique per write, so a version that was overwritten never comes back (VAR_ROLLBACK apart),
 *     and a swap on it fails. That is also why a stale read of a version can only lose: the model's
 *     contenders see current versions, and their swap may be sent and applied any time after.
 *   - The answer to a swap may come at any time after it was applied, or never; the swap may be applied at
 *     any time after it was sent, or never, also when its sender crashed, or stopped waiting and sent another.
 *   - Bounds: incarnations (MAXINC per node), epochs (MAXEP), wipes (WIPES), and LATE: one swap in the whole
 *     system may stay in flight beside its sender's next one of the same kind.
 *
 * models/run.py sets the macros: MUT_ plants a defect (rules.pml), VAR_ chooses a variant of the design and STOPS a
 * machine that stands still with its clocks (variants.pml; witnesses.pml: a claim whose record alone was lost), REACH_ asks for a
 * witness that something good can happen. START_, NO_ and CLAIM_ONLY bound a run (docs/safety/model.md says why nothing is lost).
 */

#ifndef N
#define N 2
#endif
#ifndef L
#define L 2
#endif
#ifndef MAXINC
#define MAXINC 2
#endif
#ifdef NODE_0_STAYS      /* only the others may begin another incarnation */
#define MAXINC_OF(me) (me == 0 -> 1 : MAXINC)
#else
#define MAXINC_OF(me) MAXINC
#endif
#ifndef MAXEP
#define MAXEP 3
#endif
#ifndef WIPES
#define WIPES 0
#endif
#ifdef MUT_WAIT_SHORT
#define WAIT (L-1)
#else
#define WAIT L
#endif

#define OTHERS(me)  (((1 << N) - 1) & ~(1 << (me)))
#define HAS(set, i) (((set) >> (i)) & 1)
#define MAX(a, b)   ((a) > (b) -> (a) : (b))
#define OPEN(i)     (gate[i] && deadline[i] > 0)

/* ------------------------------------------------------------------ registers */

typedef Session { bit there; byte inc; bit ended };
typedef Claim { byte state; byte who; byte inc; byte ep };

#define MISSING  0
#define RELEASED 1
#define HELD     2
#define VACANT   3

Session session[N];
Claim claim;

/* A version that somebody remembers: 0 none (in a swap: "the record is missing"), else flags. */
#define WAS  4          /* a version; alone: no longer the register's */
#define CUR  1          /* it is the register's version now */
#define SNAP 2          /* it is the version in the backup (VAR_ROLLBACK) */
#define NOW  (WAS + CUR)

#ifdef VAR_ROLLBACK
bit snap_session_is_now[N]; bit snap_claim_is_now;
#define SESSION_NOW(i) (session[i].there -> NOW + SNAP * snap_session_is_now[i] : 0)
#define CLAIM_NOW (NOW + SNAP * snap_claim_is_now)
#else
#define SESSION_NOW(i) (session[i].there -> NOW : 0)
#define CLAIM_NOW NOW
#endif
#define MATCHES(exp, there) (((exp) & CUR) || ((exp) == 0 && !(there)))

/* ------------------------------------------------------------------ swaps on their way */

#define NONE     0
#define RENEW    1      /* my session, same or new incarnation */
#define END      2      /* somebody's session becomes "ended" */
#define TAKE     3      /* the claim becomes mine */
#define RELEASE  4
#define CREATE   5      /* a missing claim is created as vacant */
#define BID      6      /* the claim is rewritten, its holder unchanged */

typedef Swap { byte kind; byte at; byte exp; byte inc; byte ep };

Swap own[N];             /* in flight: my own session */
Swap other[N];           /* in flight, perhaps in parallel: anything else */
Swap late; byte late_by; bit late_awaited;

/* answers */
#define PENDING 1
#define DONE    2
#define FAILED  3

/* ------------------------------------------------------------------ nodes */

bit  gate[N];            /* kernel: the claim's gate lets pass while deadline > 0; lives through a crash */
byte deadline[N];        /* kernel and agent: ticks left of my lease */
byte inc[N];             /* my incarnation; counted, so that the model can order them */
byte ver[N];             /* my session's version as I know it; 0: I have none */

byte renewal[N];         /* answer to the swap of my session that I wait for */
byte renewal_ver[N];     /* the version it wrote */
byte renewal_worth[N];   /* what its t0 is still worth */

byte taking[N];          /* answer to my TAKE: as long as it is not 0, I may hold */
byte taking_ep[N];
bit  holds[N];           /* my swap won the claim, under my present incarnation */
byte ep[N];              /* with this epoch */

byte seen[N*N];          /* [me*N+j]: version of j's session that I watch, */
byte seen_wait[N*N];     /* and ticks until W has passed since the response that first showed it */
byte vacant_seen[N];     /* the same for a vacant claim */
byte vacant_wait[N];

byte bound[N];           /* ticks left of the promises I gave */
byte bound_ep[N];        /* and the highest epoch they were asked for */
byte fresh_start[N];     /* ticks left of the first W after my start */
bit  ask[N];             /* my request for promises is out, */
byte ask_worth[N];       /* its t0 is still worth this, */
byte ask_got[N];         /* and these electors have granted it */

#ifdef ONLY_EXCL
#define FENCE(me) true
#else
#define FENCE(me) (ep[me] >= top_opened || wipes > 0)
#endif

/* ghosts: no node reads these */
byte top_opened;         /* highest epoch that ever opened a gate */
byte top_epoch;          /* highest epoch ever written */
byte wipes;
#ifdef VAR_ROLLBACK
Session snap_session[N]; Claim snap_claim; byte snap;   /* 0 no backup yet, 1 taken, 2 put back */
#endif
#ifdef MUT_OTHER_INC_IS_ENDED
byte stale_inc[N];       /* incarnation in an older copy of the session */
#endif

/* scratch inside one step, 0 between steps */
byte k; byte n; byte now_kind; byte now_at; byte now_inc; byte now_ep; bit now_awaited; bit now_ok;

#ifdef STOPS
/* Node 0's machine may stand still together with its clocks, STOPS ticks in all. What it counts on then lasts too
   long, and nobody can know. What it counts on since (asked for after the last stop) must be as good as ever. */
byte stops;
bit dated; bit ask_dated; bit renewal_dated;    /* node 0's deadline, request, renewal: from before a stop */
#define TRUSTED(i) (OPEN(i) && !(i == 0 && dated))
#define EXTENDED_BY(me, worth, source) if :: me == 0 && worth >= deadline[0] -> dated = source :: else fi;
#define NEWER(worth, deadline) (worth >= deadline)          /* also if it only proves what was counted on already */
#define ASKED(me) if :: me == 0 -> ask_dated = 0 :: else fi;
#define RENEWING(me) if :: me == 0 -> renewal_dated = 0 :: else fi;
#else
#define TRUSTED(i) OPEN(i)
#define EXTENDED_BY(me, worth, source)
#define NEWER(worth, deadline) (worth > deadline)
#define ASKED(me)
#define RENEWING(me)
#endif

inline check() {
	do
	:: k < N -> if :: TRUSTED(k) -> n++ :: else fi; k++
	:: else -> k = 0; break
	od;
	assert(n <= 1);                                         /* EXCL */
	k = 0; n = 0
}

#include "variants.pml"
#include "witnesses.pml"
#include "store.pml"
#include "rules.pml"
#include "node.pml"

/* ------------------------------------------------------------------ time, network, disasters */

#define DOWN(x) x = (x > 0 -> x - 1 : 0)

inline tick(i) {
	if :: deadline[i] == 1 -> RENEWAL_LAPSES(i) PROMISE_LAPSES(i) HOLDER_LAPSES(i) skip :: else fi;
	if :: bound[i] == 1 -> bound_ep[i] = 0 :: else fi;
	DOWN(deadline[i]); DOWN(renewal_worth[i]); DOWN(ask_worth[i]); DOWN(bound[i]); DOWN(fresh_start[i]);
	DOWN(vacant_wait[i]);
	DOWN(seen_wait[i*N]); DOWN(seen_wait[i*N+1]);
#if N == 3
	DOWN(seen_wait[i*N+2])
#endif
}

#ifdef VAR_ROLLBACK
inline copy_session(d, s) { d.there = s.there; d.inc = s.inc; d.ended = s.ended }
inline copy_claim(d, s) { d.state = s.state; d.who = s.who; d.inc = s.inc; d.ep = s.ep }
#ifdef VAR_STORE_IDENTITY            /* versions name the store they are from; a restored store is another one */
inline in_backup(v) { skip }
#else
inline in_backup(v) { v = v + (v & CUR -> SNAP : 0) }
#endif
inline restored(v) { v = (v & SNAP -> NOW : v) }
#endif

inline record_lost(i) {
	session_overwritten(i); session[i].there = 0; session[i].inc = 0; session[i].ended = 0
}
inline claim_lost() {
	claim_overwritten(); claim.state = MISSING; claim.who = 0; claim.inc = 0; claim.ep = 0
}

#ifdef LATE
#define DELAY(i) \
	:: d_step { own[i].kind && !late.kind -> \
		delay(own[i], i); stop_waiting(i) } \
	:: d_step { other[i].kind && !late.kind -> delay(other[i], i) }
#else
#define DELAY(i)
#endif
#define TRAVEL(i) \
	:: d_step { own[i].kind -> arrive(own[i], i, 1) } \
	:: d_step { other[i].kind -> arrive(other[i], i, 1) } \
	:: d_step { own[i].kind -> forget(own[i]); NAMES_FORGOTTEN(i) stop_waiting(i) } \
	:: d_step { other[i].kind -> \
		if :: other[i].kind == TAKE && taking[i] == PENDING -> taking[i] = FAILED :: else fi; forget(other[i]) } \
	DELAY(i)

proctype world()
{
	do
	:: d_step { printf("---- a tick\n"); tick(0); tick(1);
#if N == 3
		tick(2)
#endif
		}
#ifdef STOPS
	:: d_step { stops < STOPS -> stops++; printf("---- a tick, but node 0 and its clocks stand still\n"); tick(1);
#if N == 3
		tick(2);
#endif
		dated = 1; ask_dated = 1; renewal_dated = 1 }
#endif
	TRAVEL(0)
	TRAVEL(1)
#if N == 3
	TRAVEL(2)
#endif
#ifdef LATE
	:: d_step { late.kind -> arrive(late, late_by, late_awaited); late_by = 0; late_awaited = 0 }
#endif
#ifdef VAR_RELOAD
	:: d_step { lease == L -> lease = L - 1; printf("node 0 is reloaded with a shorter lease\n") }
#endif
#if WIPES > 0
#ifndef CLAIM_ONLY
	:: d_step { wipes < WIPES -> wipes++; printf("THE STORE LOSES EVERYTHING\n");   /* the store loses everything */
		record_lost(0); record_lost(1);
#if N == 3
		record_lost(2);
#endif
		claim_lost() }
#else
	:: d_step { wipes < WIPES && claim.state != MISSING && !SETTLED ->                 /* somebody deletes the claim's record alone */
		wipes++; printf("THE CLAIM'S RECORD IS DELETED\n"); HELD_BEFORE claim_lost();
#ifdef VAR_MADE_VACANT
		printf("and a node that is not in the model makes it vacant\n"); claim.state = VACANT; claim.ep = top_epoch;
#endif
		NOT_WRITTEN(0) NOT_WRITTEN(1) NOT_WRITTEN(N-1) skip }
#endif
#endif
#ifdef VAR_ROLLBACK
	:: d_step { snap == 0 && !SETTLED -> snap = 1; printf("A BACKUP IS TAKEN\n");                       /* somebody takes a backup (two nodes) */
		copy_session(snap_session[0], session[0]); copy_session(snap_session[1], session[1]);
		copy_claim(snap_claim, claim);
#ifndef VAR_STORE_IDENTITY
		snap_session_is_now[0] = 1; snap_session_is_now[1] = 1; snap_claim_is_now = 1;
#endif
		do
		:: k < N ->
			in_backup(ver[k]); in_backup(own[k].exp); in_backup(other[k].exp); in_backup(renewal_ver[k]);
			in_backup(seen[k*N]); in_backup(seen[k*N+1]); in_backup(vacant_seen[k]); k++
		:: else -> k = 0; break
		od;
		in_backup(late.exp) }
	:: d_step { snap == 1 && BACKUP_OLD_ENOUGH -> snap = 2; wipes = 1; printf("THE BACKUP IS PUT BACK\n");   /* and puts it back */
#ifdef VAR_OUTAGE
		outage();
#endif
		session_overwritten(0); session_overwritten(1); claim_overwritten();
		copy_session(session[0], snap_session[0]); copy_session(session[1], snap_session[1]);
		copy_claim(claim, snap_claim);
#ifdef VAR_STORE_IDENTITY
		fresh_start[0] = WAIT; fresh_start[1] = WAIT;     /* whoever sees a new store waits as after a start */
#endif
		do
		:: k < N ->
			restored(ver[k]); restored(own[k].exp); restored(other[k].exp); restored(renewal_ver[k]);
			restored(seen[k*N]); restored(seen[k*N+1]); restored(vacant_seen[k]); k++
		:: else -> k = 0; break
		od;
		restored(late.exp) }
#endif
	od
}

init {
	d_step {                                    /* all have a session; node 0 holds the claim (START_WON: and does not know it yet), or it was released */
		claim.ep = 1; top_epoch = 1; top_opened = 1;
#ifdef START_RELEASED
		claim.state = RELEASED;
#else
		claim.state = HELD; claim.inc = 1;
#ifdef START_WON
		taking[0] = DONE; taking_ep[0] = 1;
#else
		holds[0] = 1; ep[0] = 1;
#endif
#endif
		do
		:: k < N ->
			session[k].there = 1; session[k].inc = 1; inc[k] = 1; NAMES_AT_FIRST(k) ver[k] = NOW; deadline[k] = L; k++
		:: else -> k = 0; break
		od
	};
	atomic {
#if N == 3
		run node(0, 1, 2); run node(1, 0, 2); run node(2, 0, 1);
#else
		run node(0, 1, 1); run node(1, 0, 0);
#endif
		run world()
	}
}

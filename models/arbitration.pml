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
 * models/run.py sets the macros: MUT_ plants a defect, VAR_ chooses a variant of the design, REACH_ asks for
 * a witness that something good can happen.
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
byte vacant_need[N];     /* VAR_VACANT_ENDS: sessions I must end by a swap before I take it */

byte bound[N];           /* ticks left of the promises I gave */
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

inline check() {
	do
	:: k < N -> if :: OPEN(k) -> n++ :: else fi; k++
	:: else -> k = 0; break
	od;
	assert(n <= 1);                                         /* EXCL */
	k = 0; n = 0
}

/* ------------------------------------------------------------------ the store */

inline forget(s) { s.kind = NONE; s.at = 0; s.exp = 0; s.inc = 0; s.ep = 0 }

inline overwritten(v) { v = v & (WAS + SNAP) }

/* A swap on a version that is gone for good can only fail, whenever it arrives: it is taken off the network
   now, and its sender, if it still waits, may learn of the conflict at any time from now on. */
#define DOOMED(s) (s.exp == WAS)

inline own_doomed(i) {
	if
	:: own[i].kind && DOOMED(own[i]) ->
		forget(own[i]);
		if :: renewal[i] == PENDING -> renewal[i] = FAILED; renewal_worth[i] = 0 :: else fi
	:: else
	fi
}
inline other_doomed(i) {
	if
	:: other[i].kind && DOOMED(other[i]) ->
		if :: other[i].kind == TAKE && taking[i] == PENDING -> taking[i] = FAILED :: else fi;
		forget(other[i])
	:: else
	fi
}
inline late_doomed() {
	if
	:: late.kind && DOOMED(late) ->
		if :: late.kind == TAKE && late_awaited && taking[late_by] == PENDING -> taking[late_by] = FAILED :: else fi;
		forget(late); late_by = 0; late_awaited = 0
	:: else
	fi
}

inline session_overwritten(i) {
#ifdef VAR_ROLLBACK
	snap_session_is_now[i] = 0;
#endif
#ifdef MUT_OTHER_INC_IS_ENDED
	stale_inc[i] = session[i].inc;
#endif
	overwritten(ver[i]); overwritten(renewal_ver[i]); overwritten(own[i].exp); own_doomed(i);
	do
	:: k < N ->
		if :: other[k].kind == END && other[k].at == i -> overwritten(other[k].exp); other_doomed(k) :: else fi;
		seen[k*N+i] = (seen[k*N+i] & SNAP -> WAS + SNAP : 0);   /* else nothing that could be ended is left */
		if :: seen[k*N+i] == 0 -> seen_wait[k*N+i] = 0 :: else fi;
		k++
	:: else -> k = 0; break
	od;
	if :: (late.kind == RENEW || late.kind == END) && late.at == i -> overwritten(late.exp); late_doomed() :: else fi
}

inline claim_overwritten() {
#ifdef VAR_ROLLBACK
	snap_claim_is_now = 0;
#endif
	do
	:: k < N ->
		if :: other[k].kind >= TAKE -> overwritten(other[k].exp); other_doomed(k) :: else fi;
		vacant_seen[k] = (vacant_seen[k] & SNAP -> WAS + SNAP : 0);
		if :: vacant_seen[k] == 0 -> vacant_wait[k] = 0; vacant_need[k] = 0 :: else fi;
		k++
	:: else -> k = 0; break
	od;
	if :: late.kind >= TAKE -> overwritten(late.exp); late_doomed() :: else fi
}

/* Swap s, sent by node `by`, reaches the store. `awaited`: its sender may still learn the answer. */
inline arrive(s, by, awaited) {
	printf("the store receives node %d's swap, kind %d\n", by, s.kind); now_kind = s.kind; now_at = s.at; now_inc = s.inc; now_ep = s.ep; now_awaited = awaited;
	now_ok = (s.kind <= END -> MATCHES(s.exp, session[s.at].there) : MATCHES(s.exp, claim.state != MISSING));
	forget(s);
	if
	:: now_ok && now_kind == RENEW ->
		session_overwritten(by);
		session[by].there = 1; session[by].inc = now_inc; session[by].ended = 0;
		if :: now_awaited && renewal[by] == PENDING -> renewal[by] = DONE; renewal_ver[by] = NOW :: else fi
	:: now_ok && now_kind == END ->
		session_overwritten(now_at);
		session[now_at].there = 1; session[now_at].ended = 1;
#ifdef VAR_VACANT_ENDS
		vacant_need[by] = vacant_need[by] & ~(1 << now_at);
		if :: vacant_seen[by] -> vacant_wait[by] = WAIT :: else fi
#endif
	:: now_ok && now_kind >= TAKE ->
		claim_overwritten();
		if
		:: now_kind == TAKE ->
			assert(now_ep > top_epoch || wipes > 0);        /* EPOCH */
			top_epoch = MAX(top_epoch, now_ep);
			claim.state = HELD; claim.who = by; claim.inc = now_inc; claim.ep = now_ep;
			if :: now_awaited && taking[by] == PENDING -> taking[by] = DONE :: else fi
		:: now_kind == RELEASE -> claim.state = RELEASED; claim.who = 0; claim.inc = 0
		:: now_kind == CREATE -> claim.state = VACANT; claim.who = 0; claim.inc = 0; claim.ep = now_ep
		:: else
		fi
	:: !now_ok && now_kind == RENEW ->
		if :: now_awaited && renewal[by] == PENDING -> renewal[by] = FAILED; renewal_worth[by] = 0 :: else fi
	:: !now_ok && now_kind == TAKE ->
		if :: now_awaited && taking[by] == PENDING -> taking[by] = FAILED :: else fi
	:: else
	fi;
	now_kind = 0; now_at = 0; now_inc = 0; now_ep = 0; now_awaited = 0; now_ok = 0
}

inline delay(s, by) {                       /* s stays in flight, its sender may send the next one */
	late.kind = s.kind; late.at = s.at; late.exp = s.exp; late.inc = s.inc; late.ep = s.ep;
	late_by = by; late_awaited = (s.kind == TAKE && taking[by] == PENDING);
	forget(s)
}

/* ------------------------------------------------------------------ rules, and the defects planted in them */

/* A success that comes after the deadline that was current when it was asked for does not count: what is out
   when the deadline passes is worth nothing from then on. A renewal sent after the deadline counts again: a
   BACKUP's, or a lapsed holder's whose version chain is unbroken (not with VAR_NO_REVIVAL). */
#ifdef MUT_LATE_RENEWAL
#define RENEWAL_LAPSES(i)
#else
#define RENEWAL_LAPSES(i) renewal_worth[i] = 0;
#endif
#ifdef MUT_LATE_PROMISE
#define PROMISE_COUNTS(me) true
#define PROMISE_LAPSES(i)
#else
#define PROMISE_COUNTS(me) (deadline[me] > 0)
#define PROMISE_LAPSES(i) ask[i] = 0; ask_worth[i] = 0; ask_got[i] = 0;
#endif
#ifdef VAR_NO_REVIVAL
#define RENEWAL_COUNTS(me) (deadline[me] > 0 || !holds[me])
#else
#define RENEWAL_COUNTS(me) true
#endif

/* A claim held by incarnation i is free once i has ended: the session says so, or shows a later incarnation. */
#ifdef MUT_OTHER_INC_IS_ENDED
#define ENDED(j, i) ((session[j].there && (session[j].inc != i || session[j].ended)) || (stale_inc[j] && stale_inc[j] != i))
#else
#define ENDED(j, i) (session[j].there && (session[j].inc > i || (session[j].inc == i && session[j].ended)))
#endif

/* In the first W after my start, promises of my previous life may still bind me. My own claim is exempt. */
#ifdef MUT_TAKE_IN_FIRST_W
#define PAST_PROMISES_OVER(me) true
#else
#define PAST_PROMISES_OVER(me) (fresh_start[me] == 0)
#endif
#ifdef MUT_GRANT_IN_FIRST_W
#define MAY_GRANT_YET(me) true
#else
#define MAY_GRANT_YET(me) (fresh_start[me] == 0)
#endif
#ifdef VAR_OWN_AFTER_W
#define MINE_BEFORE(me) (claim.who == me && claim.inc < inc[me] && !gate[me] && fresh_start[me] == 0)
#else
#define MINE_BEFORE(me) (claim.who == me && claim.inc < inc[me] && !gate[me])
#endif

#ifdef MUT_PROMISE_RESETS_OBSERVATION
#define NOT_BOUND(me) true
#else
#define NOT_BOUND(me) (bound[me] == 0)
#endif
#ifdef VAR_PROMISED_MAY_END
#define MAY_END(me) true
#else
#define MAY_END(me) NOT_BOUND(me)
#endif

#ifdef MUT_REFUSE_ONLY_WHILE_OPEN
#define MAY_HOLD(me) OPEN(me)
#else
#define MAY_HOLD(me) (holds[me] || taking[me])
#endif

#ifdef VAR_KEEP_IF_OPEN
#define KEPT(me) OPEN(me)          /* a closed gate may have been closed for a release that is still on its way */
#else
#define KEPT(me) true
#endif
#ifdef VAR_ROLLBACK_OLD
#define RENEWED_SINCE(i) !snap_session_is_now[i]
#define BACKUP_OLD_ENOUGH (RENEWED_SINCE(0) && RENEWED_SINCE(1))
#else
#define BACKUP_OLD_ENOUGH true
#endif
#ifdef MUT_RELEASE_BEFORE_CLOSE
#define NOT_RELEASING(me) (other[me].kind != RELEASE)
#else
#define NOT_RELEASING(me) true
#endif

#if defined(MUT_MISSING_IS_FREE)
#define VACANT_LONG_ENOUGH(me) true
#else
#define VACANT_LONG_ENOUGH(me) ((vacant_seen[me] & CUR) && vacant_wait[me] == 0 && vacant_need[me] == 0)
#endif

#define MAY_CLAIM(me) (other[me].kind == NONE && ver[me] && !holds[me] && !taking[me] && NOT_BOUND(me) && claim.ep < MAXEP)

/* ------------------------------------------------------------------ a node */

inline lose_claim(me) {
	holds[me] = 0; ep[me] = 0; taking[me] = 0; taking_ep[me] = 0;
	if :: late_by == me -> late_awaited = 0 :: else fi
}
inline stop_asking(me) { ask[me] = 0; ask_worth[me] = 0; ask_got[me] = 0 }
inline stop_waiting(me) { renewal[me] = 0; renewal_ver[me] = 0; renewal_worth[me] = 0 }

inline send_session(me) {                   /* the caller has set own[me].exp */
	own[me].kind = RENEW; own[me].at = me; own[me].inc = inc[me];
	renewal[me] = PENDING; renewal_worth[me] = L
}

inline send_take(me) {
	printf("node %d sends: the claim is mine, epoch %d\n", me, claim.ep + 1);
	other[me].kind = TAKE; other[me].exp = CLAIM_NOW; other[me].inc = inc[me]; other[me].ep = claim.ep + 1;
	taking[me] = PENDING; taking_ep[me] = claim.ep + 1
}

inline crash(me, a, b) {
	ver[me] = 0; stop_waiting(me); lose_claim(me); stop_asking(me);
	bound[me] = 0; vacant_seen[me] = 0; vacant_wait[me] = 0; vacant_need[me] = 0;
	seen[me*N+a] = 0; seen_wait[me*N+a] = 0; seen[me*N+b] = 0; seen_wait[me*N+b] = 0;
	fresh_start[me] = WAIT
}

/* What a node does about one other node j */
#define ABOUT(me, j) \
	:: d_step { session[j].there && !session[j].ended && !(seen[me*N+j] & CUR) -> \
		printf("node %d first sees this version of session %d\n", me, j); seen[me*N+j] = SESSION_NOW(j); seen_wait[me*N+j] = WAIT } \
	:: d_step { other[me].kind == NONE && seen[me*N+j] && seen_wait[me*N+j] == 0 && MAY_END(me) -> \
		printf("node %d sends: session %d ended\n", me, j); other[me].kind = END; other[me].at = j; other[me].exp = seen[me*N+j]; seen[me*N+j] = 0 } \
	:: d_step { MAY_CLAIM(me) && PAST_PROMISES_OVER(me) && claim.state == HELD && claim.who == j && ENDED(j, claim.inc) -> \
		send_take(me) } \
	GRANT(me, j)

#ifdef NO_FAILSAFE
#define GRANT(me, j)
#else
#ifdef MUT_PROMISE_RESETS_OBSERVATION
#define AND_RESET(me, j) ; seen_wait[me*N+j] = (seen[me*N+j] -> WAIT : 0)
#else
#define AND_RESET(me, j)
#endif
#define GRANT(me, j) \
	:: d_step { ask[j] && !HAS(ask_got[j], me) && !MAY_HOLD(me) && MAY_GRANT_YET(me) -> \
		printf("node %d promises to node %d\n", me, j); ask_got[j] = ask_got[j] | (1 << me); bound[me] = WAIT AND_RESET(me, j) }
#endif

proctype node(byte me; byte a; byte b)      /* a, b: the others (the same one if there is only one) */
{
	do
	/* ---- session */
	:: d_step { ver[me] == 0 && own[me].kind == NONE && renewal[me] == 0 && inc[me] < MAXINC_OF(me) ->   /* begin an incarnation */
		gate[me] = 0; deadline[me] = 0; lose_claim(me); stop_asking(me);     /* what the last one had is closed first */
		inc[me]++;
		printf("node %d sends a new session, incarnation %d\n", me, inc[me]);
		own[me].exp = SESSION_NOW(me); send_session(me) }
	:: d_step { ver[me] && ver[me] != WAS && own[me].kind == NONE && renewal[me] == 0 ->
		printf("node %d sends a renewal\n", me); own[me].exp = ver[me]; send_session(me) }
	:: d_step { ver[me] == WAS && own[me].kind == NONE && renewal[me] == 0 -> renewal[me] = FAILED }    /* as above; doomed */
	:: d_step { renewal[me] == DONE ->
#ifdef MUT_REPLY_TIME
		renewal_worth[me] = (renewal_worth[me] > 0 -> L : 0);
#endif
		printf("node %d learns that its renewal happened; its t0 is worth %d\n", me, renewal_worth[me]);
		ver[me] = renewal_ver[me];
#ifdef REACH_REVIVAL
		assert(!(holds[me] && deadline[me] == 0 && renewal_worth[me] > 0));
#endif
		if :: RENEWAL_COUNTS(me) -> deadline[me] = MAX(deadline[me], renewal_worth[me]) :: else fi;
		stop_waiting(me); check() }
	:: d_step { renewal[me] == FAILED -> printf("node %d learns of a conflict: gate closed\n", me);
		gate[me] = 0; ver[me] = 0; stop_waiting(me) }    /* close now, then find out */
	:: d_step { renewal[me] == DONE -> stop_waiting(me) }                                 /* the answer is lost */

	/* ---- gate */
	:: d_step { holds[me] && ver[me] && deadline[me] > 0 && !gate[me] && NOT_RELEASING(me) ->
		gate[me] = 1; printf("node %d OPENS ITS GATE, epoch %d, for %d\n", me, ep[me], deadline[me]);
		check();
		assert(FENCE(me));
#ifdef REACH_TAKEOVER
		assert(!(ep[me] >= 2 && claim.who == me && inc[a] == 1 && session[a].ended));
#endif
#ifdef REACH_HANDOVER
		assert(!(ep[me] >= 2 && claim.who == me && inc[a] == 1 && inc[me] == 1 && (ver[a] & CUR)));
#endif
#ifdef REACH_OWN_RESTART
		assert(!(ep[me] >= 2 && fresh_start[me] == WAIT && top_opened == 1));
#endif
#ifdef REACH_AFTER_WIPE
		assert(!(wipes > 0 && claim.state == HELD && claim.who == me));
#endif
		top_opened = MAX(top_opened, ep[me]) }
	:: d_step { gate[me] && holds[me] ->
		gate[me] = 0; printf("node %d doubts, gate closed\n", me) }      /* in doubt: woke late, heard a foreign advert */

	/* ---- let go: first the gate, then the claim */
	:: d_step { other[me].kind == NONE && holds[me] && claim.state == HELD && claim.who == me && claim.inc == inc[me] ->
		printf("node %d sends its release\n", me); other[me].kind = RELEASE; other[me].exp = CLAIM_NOW; stop_asking(me);
#ifndef MUT_RELEASE_BEFORE_CLOSE
		gate[me] = 0; lose_claim(me)
#endif
		}
#ifdef MUT_RELEASE_BEFORE_CLOSE
	:: d_step { holds[me] && claim.state != HELD -> gate[me] = 0; lose_claim(me) }         /* the answer came */
#endif

	/* ---- the others: observe, end, take from, grant */
	ABOUT(me, a)
#if N == 3
	ABOUT(me, b)
#endif

	/* ---- take a claim that is nobody's, or was mine in a previous incarnation */
	:: d_step { MAY_CLAIM(me) && PAST_PROMISES_OVER(me) && claim.state == RELEASED -> send_take(me) }
	:: d_step { MAY_CLAIM(me) && claim.state == HELD && MINE_BEFORE(me) -> send_take(me) }
#if WIPES > 0
	:: d_step { other[me].kind == NONE && ver[me] && claim.state == MISSING ->            /* missing is not free */
		printf("node %d sends: the missing claim is vacant\n", me); other[me].kind = CREATE; other[me].exp = 0; other[me].ep = ep[me] }
	:: d_step { claim.state == VACANT && !(vacant_seen[me] & CUR) ->
		printf("node %d first sees the vacant claim\n", me); vacant_seen[me] = CLAIM_NOW; vacant_wait[me] = WAIT;
#ifdef VAR_VACANT_ENDS
		vacant_need[me] = OTHERS(me)
#endif
		}
	:: d_step { MAY_CLAIM(me) && PAST_PROMISES_OVER(me) && claim.state == VACANT && VACANT_LONG_ENOUGH(me) -> send_take(me) }
#ifdef VAR_VACANT_ENDS
	:: d_step { other[me].kind == NONE && NOT_BOUND(me) && vacant_seen[me] && HAS(vacant_need[me], a) ->
		other[me].kind = END; other[me].at = a; other[me].exp = SESSION_NOW(a) }
#endif
#endif
#ifdef BIDS
	:: d_step { other[me].kind == NONE && ver[me] && claim.state == HELD && claim.who != me ->
		other[me].kind = BID; other[me].exp = CLAIM_NOW }
#endif
	:: d_step { taking[me] == DONE ->
		printf("node %d learns that it has won the claim\n", me);
		if :: ver[me] -> holds[me] = 1; ep[me] = taking_ep[me] :: else fi;
		taking[me] = 0; taking_ep[me] = 0 }
	:: d_step { taking[me] == FAILED -> taking[me] = 0; taking_ep[me] = 0 }
#ifdef MUT_STALE_READ_DENIES
	:: d_step { taking[me] -> taking[me] = 0; taking_ep[me] = 0 }     /* "the record is not mine: it did not happen" */
	:: d_step { !holds[me] && !taking[me] && ver[me] && claim.state == HELD && claim.who == me && claim.inc == inc[me] &&
		other[me].kind == NONE -> holds[me] = 1; ep[me] = claim.ep }
#endif

#ifndef NO_FAILSAFE
	/* ---- ask for promises: every elector must grant */
	:: d_step { holds[me] && ver[me] && deadline[me] > 0 && !ask[me] ->
		printf("node %d asks for promises\n", me); ask[me] = 1; ask_worth[me] = L }
	:: d_step { ask[me] ->                                    /* one did not answer */
		ask[me] = 0; ask_worth[me] = 0;
#ifndef MUT_NO_NONCE
		ask_got[me] = 0
#endif
		}
	:: d_step { ask[me] && ask_got[me] == OTHERS(me) ->
		if
		:: holds[me] && ver[me] && PROMISE_COUNTS(me) && ask_worth[me] > deadline[me] ->
#ifdef REACH_FAILSAFE
			assert(!OPEN(me));
#endif
			deadline[me] = ask_worth[me]; printf("node %d has every promise: deadline in %d\n", me, deadline[me]);
			check();
			assert(!gate[me] || FENCE(me))
		:: else
		fi;
		stop_asking(me) }
#endif

	/* ---- crash and restart; the kernel's gate lives on until the new incarnation closes it */
#ifndef NO_CRASH
	:: d_step { inc[me] > 0 && inc[me] < MAXINC_OF(me) ->
		printf("node %d crashes and restarts\n", me); crash(me, a, b); gate[me] = 0; deadline[me] = 0 }
#endif
#if defined(VAR_KEEP_INCARNATION) || defined(VAR_KEEP_IF_OPEN)
	/* ... or the supervisor kept the incarnation, and the new worker goes on with what it reads */
	:: d_step { session[me].there && !session[me].ended && session[me].inc == inc[me] && KEPT(me) ->
		printf("node %d crashes and restarts in the same incarnation\n", me);
		crash(me, a, b);
		ver[me] = SESSION_NOW(me);
		if
		:: claim.state == HELD && claim.who == me && claim.inc == inc[me] -> holds[me] = 1; ep[me] = claim.ep
		:: else -> gate[me] = 0
		fi }
#endif
	od
}

/* ------------------------------------------------------------------ time, network, disasters */

#define DOWN(x) x = (x > 0 -> x - 1 : 0)

inline tick(i) {
	if :: deadline[i] == 1 -> RENEWAL_LAPSES(i) PROMISE_LAPSES(i) skip :: else fi;
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
	:: d_step { own[i].kind -> forget(own[i]); stop_waiting(i) } \
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
	TRAVEL(0)
	TRAVEL(1)
#if N == 3
	TRAVEL(2)
#endif
#ifdef LATE
	:: d_step { late.kind -> arrive(late, late_by, late_awaited); late_by = 0; late_awaited = 0 }
#endif
#if WIPES > 0
	:: d_step { wipes < WIPES -> wipes++; printf("THE STORE LOSES EVERYTHING\n");   /* the store loses everything */
		record_lost(0); record_lost(1);
#if N == 3
		record_lost(2);
#endif
		claim_lost() }
#ifdef VAR_PARTIAL_WIPE
	:: d_step { wipes < WIPES -> wipes++; printf("THE CLAIM'S RECORD IS DELETED\n"); claim_lost() }       /* somebody deletes the claim's record alone */
#endif
#endif
#ifdef VAR_ROLLBACK
	:: d_step { snap == 0 -> snap = 1; printf("A BACKUP IS TAKEN\n");                       /* somebody takes a backup (two nodes) */
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
	d_step {                                    /* all have a session, node 0 holds the claim */
		claim.state = HELD; claim.inc = 1; claim.ep = 1; holds[0] = 1; ep[0] = 1; top_epoch = 1; top_opened = 1;
		do
		:: k < N ->
			session[k].there = 1; session[k].inc = 1; inc[k] = 1; ver[k] = NOW; deadline[k] = L; k++
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

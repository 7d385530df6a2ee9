/* Circumstances and variants of the design that are searched by themselves, a macro each. */

/* VAR_PLAIN_HEARTBEAT: a session is a block that only its owner writes, by plain writes (no swap): nobody can end it. A claim
   is taken from it once it has not changed for W, and a lapsed holder's next heartbeat proves nothing. */
#ifdef VAR_PLAIN_HEARTBEAT
#define RENEWAL_WORTH(me) (deadline[me] > 0 || (!holds[me] && !taking[me]) -> L : 0)
#define UNCHANGED(ver) skip
#define CAN_BE_ENDED false
#define MAY_TAKE_LAPSED(me) (deadline[me] > 0)
#else
#define UNCHANGED(ver) overwritten(ver)
#define CAN_BE_ENDED true
#define MAY_TAKE_LAPSED(me) true
#endif

/* VAR_RESUME: a worker is restarted by its supervisor, keeps the incarnation, and may find its gate open. Until the claim's record
   has confirmed it, the flag must be gone before the first new deadline. */
#ifdef VAR_RESUME
#ifndef RESUMES
#define RESUMES 1
#endif
byte resumes;
bit inherits[N];         /* the flag in the kernel is an earlier worker's */
bit adopt[N];            /* and its claim may be adopted */
#ifdef MUT_INHERITS_BLINDLY
#define INHERITS true
#define CLOSE_INHERITED(me) skip
#define CLOSE_ALL(me) if :: !inherits[me] -> gate[me] = 0 :: else fi
#else
#define INHERITS false
#define CLOSE_INHERITED(me) if :: inherits[me] -> gate[me] = 0; inherits[me] = 0 :: else fi
#define CLOSE_ALL(me) gate[me] = 0; inherits[me] = 0; adopt[me] = 0
#endif
#else
#define CLOSE_INHERITED(me) skip
#define CLOSE_ALL(me) gate[me] = 0
#endif

/* VAR_RELOAD: node 0's lease is shortened once. Its record must not say less than it still counts on. */
#ifdef VAR_RELOAD
byte lease = L; byte own_lease = L; byte record_lease = L;   /* node 0's: configured, in a swap on its way, in the register */
#ifdef MUT_RECORD_SAYS_LESS
#define SAYS_LEASE(me) if :: me == 0 -> own_lease = lease :: else fi;
#else
#define SAYS_LEASE(me) if :: me == 0 -> own_lease = MAX(lease, deadline[0]) :: else fi;
#endif
#define WAIT_FOR(j) (j == 0 -> record_lease : WAIT)
#define RENEWAL_WORTH(me) (me == 0 -> own_lease : L)
#define LEASE_ARRIVES(by) if :: by == 0 -> record_lease = own_lease :: else fi;
#else
#define SAYS_LEASE(me)
#define WAIT_FOR(j) WAIT
#define LEASE_ARRIVES(by)
#endif
#ifndef RENEWAL_WORTH
#define RENEWAL_WORTH(me) L
#endif

/* VAR_NAMES: sessions name the claims they hold, and those they may have won. A missing claim that a living session names is not taken. */
#ifdef VAR_NAMES
bit own_names[N]; bit names[N];             /* in a swap on its way, in the register */
#ifdef MUT_NAMES_ONLY_HELD
#define SAYS_CLAIM(me) own_names[me] = holds[me];
#else
#define SAYS_CLAIM(me) own_names[me] = (holds[me] || taking[me]);
#endif
#define NAMES_ARRIVE(by) names[by] = own_names[by];
#define NAMES_AT_FIRST(k) names[k] = (k == 0);
#define NAMED_BY(j) (names[j] && session[j].there && !session[j].ended)
#ifdef MUT_NAMED_IS_TAKEN_LATER            /* after a while in which the holder should have looked, but may not have */
#define CONTESTED(me, a, b) false
#else
#define CONTESTED(me, a, b) (NAMED_BY(a) || NAMED_BY(b))
#endif
#else
#define SAYS_CLAIM(me)
#define NAMES_ARRIVE(by)
#define NAMES_AT_FIRST(k)
#define CONTESTED(me, a, b) false
#endif

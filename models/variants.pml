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
#ifdef NO_ENDS
#define CAN_BE_ENDED false
#else
#define CAN_BE_ENDED true
#endif
#ifdef VAR_LAPSE_LETS_GO
#define MAY_TAKE_LAPSED(me) (deadline[me] > 0)
#else
#define MAY_TAKE_LAPSED(me) true
#endif
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

/* VAR_LAPSE_LETS_GO: a holder whose deadline passes lets go of its claim, as the code does (it lowers, and releases), and only a live
   node takes. The other runs allow more: the next renewal revives. A swap that took the claim but whose success comes only after
   the deadline, or not at all, is of unknown fate: its sender reads. A read that shows the claim as its own makes nobody a
   holder; the node swaps once more, on what it has read. */
#ifdef VAR_LAPSE_LETS_GO
#define UNKNOWN 4
bit late_take[N];        /* the deadline has passed since my TAKE was sent */
#ifdef MUT_LATE_WIN
#define TAKE_LAPSES(i)
#else
#define TAKE_LAPSES(i) late_take[i] = (taking[i] == PENDING || taking[i] == DONE);
#endif
#define HOLDER_LAPSES(i) if :: holds[i] -> gate[i] = 0; lose_claim(i) :: else -> TAKE_LAPSES(i) skip fi;
#define IN_TIME(me) (!late_take[me])
#define CONFIRMED(by) (claim.state == HELD && claim.who == by && claim.inc == now_inc && claim.ep == now_ep)   /* no change of holder */
#define SHOWS_MINE(me) (claim.state == HELD && claim.who == me && claim.inc == inc[me] && claim.ep == taking_ep[me])
#ifdef MUT_READ_IS_A_WIN
#define CONFIRM(me) if :: ver[me] -> holds[me] = 1; ep[me] = taking_ep[me] :: else fi; taking[me] = 0; taking_ep[me] = 0
#define CONFIRM_LOST(me) CONFIRM(me)
#else
#define CONFIRM(me) other[me].kind = TAKE; other[me].exp = CLAIM_NOW; other[me].inc = inc[me]; other[me].ep = taking_ep[me]; taking[me] = PENDING
#define CONFIRM_LOST(me) taking[me] = FAILED                /* on a version that is gone */
#endif
#ifdef VAR_OUTAGE
#define READ_LOST(me) \
	:: d_step { taking[me] == UNKNOWN && snap == 2 -> \
		printf("node %d reads, in the history that was lost, that the claim is its own\n", me); CONFIRM_LOST(me) }
#else
#define READ_LOST(me)
#endif
#define READ_BACK(me) \
	:: d_step { taking[me] == DONE && late_take[me] -> \
		printf("node %d learns of its success too late\n", me); taking[me] = UNKNOWN; late_take[me] = 0 } \
	:: d_step { taking[me] == UNKNOWN && other[me].kind == NONE && deadline[me] > 0 && SHOWS_MINE(me) -> \
		printf("node %d reads that the claim is its own\n", me); CONFIRM(me) } \
	:: d_step { taking[me] == UNKNOWN && !SHOWS_MINE(me) -> \
		printf("node %d reads that the claim is not its own\n", me); taking[me] = 0; taking_ep[me] = 0 } \
	READ_LOST(me)
#else
#define HOLDER_LAPSES(i)
#define IN_TIME(me) true
#define CONFIRMED(by) false
#define READ_BACK(me)
#endif

/* VAR_OUTAGE (with VAR_ROLLBACK and VAR_LAPSE_LETS_GO): the store was away for W before it is put back to its backup. Whatever was on
   its way to a node is lost. Who reads then may still be shown the history that was lost. */
#ifdef VAR_OUTAGE
inline outage() {
	do :: n < WAIT -> tick(0); tick(1); n++ :: else -> n = 0; break od;
	do
	:: k < N -> stop_waiting(k); if :: taking[k] == DONE -> taking[k] = UNKNOWN; late_take[k] = 0 :: else fi; k++
	:: else -> k = 0; break
	od
}
#endif

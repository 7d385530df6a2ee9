/* One node: every option of its loop is one indivisible step, and none ever has to be taken. */

inline lose_claim(me) {
	holds[me] = 0; ep[me] = 0; taking[me] = 0; taking_ep[me] = 0;
	if :: late_by == me -> late_awaited = 0 :: else fi
}
inline stop_asking(me) { ask[me] = 0; ask_worth[me] = 0; ask_got[me] = 0 }
inline stop_waiting(me) { renewal[me] = 0; renewal_ver[me] = 0; renewal_worth[me] = 0 }

inline send_session(me) {                   /* the caller has set own[me].exp */
	own[me].kind = RENEW; own[me].at = me; own[me].inc = inc[me];
	SAYS_LEASE(me) SAYS_CLAIM(me) RENEWING(me)
	renewal[me] = PENDING; renewal_worth[me] = RENEWAL_WORTH(me)
}

inline send_take(me) {
	printf("node %d sends: the claim is mine, epoch %d\n", me, claim.ep + 1);
	other[me].kind = TAKE; other[me].exp = CLAIM_NOW; other[me].inc = inc[me]; other[me].ep = claim.ep + 1;
	taking[me] = PENDING; taking_ep[me] = claim.ep + 1
}

inline crash(me, a, b) {
	ver[me] = 0; stop_waiting(me); lose_claim(me); stop_asking(me);
	bound[me] = 0; bound_ep[me] = 0; vacant_seen[me] = 0; vacant_wait[me] = 0;
	seen[me*N+a] = 0; seen_wait[me*N+a] = 0; seen[me*N+b] = 0; seen_wait[me*N+b] = 0;
	fresh_start[me] = WAIT
}

#ifdef NO_ENDS
#define MAY_WATCH false
#else
#define MAY_WATCH !SETTLED
#endif
/* What a node does about one other node j */
#define ABOUT(me, j) \
	:: d_step { MAY_WATCH && session[j].there && !session[j].ended && !(seen[me*N+j] & CUR) -> \
		printf("node %d first sees this version of session %d\n", me, j); seen[me*N+j] = SESSION_NOW(j); seen_wait[me*N+j] = WAIT_FOR(j) } \
	:: d_step { !SETTLED && CAN_BE_ENDED && other[me].kind == NONE && seen[me*N+j] && seen_wait[me*N+j] == 0 && MAY_END(me) -> \
		printf("node %d sends: session %d ended\n", me, j); other[me].kind = END; other[me].at = j; other[me].exp = seen[me*N+j]; END_SENT(me) seen[me*N+j] = 0 } \
	:: d_step { MAY_CLAIM(me) && PAST_PROMISES_OVER(me) && claim.state == HELD && claim.who == j && OVER(me, j) -> \
		send_take(me) } \
	CLEAR(me, j) \
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
		printf("node %d promises to node %d\n", me, j); ask_got[j] = ask_got[j] | (1 << me); bound[me] = WAIT; bound_ep[me] = MAX(bound_ep[me], ep[j]) AND_RESET(me, j) }
#endif

proctype node(byte me; byte a; byte b)      /* a, b: the others (the same one if there is only one) */
{
	do
	/* ---- session */
	:: d_step { ver[me] == 0 && own[me].kind == NONE && renewal[me] == 0 && inc[me] < MAXINC_OF(me) ->   /* begin an incarnation */
		CLOSE_ALL(me); deadline[me] = 0; lose_claim(me); stop_asking(me);     /* what the last one had is closed first */
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
		ver[me] = renewal_ver[me]; CLOSE_INHERITED(me);
#ifdef REACH_REVIVAL
		assert(!(holds[me] && deadline[me] == 0 && renewal_worth[me] > 0));
#endif
		EXTENDED_BY(me, renewal_worth[me], renewal_dated)
		deadline[me] = MAX(deadline[me], renewal_worth[me]);
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
#ifndef NO_DOUBT
	:: d_step { gate[me] && holds[me] ->
		gate[me] = 0; printf("node %d doubts, gate closed\n", me) }      /* in doubt: woke late, heard a foreign advert */
#endif

	/* ---- let go: first the gate, then the claim */
	:: d_step { !SETTLED && other[me].kind == NONE && holds[me] && claim.state == HELD && claim.who == me && claim.inc == inc[me] ->
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
	:: d_step { MAY_TAKE_OWN(me) && claim.state == HELD && MINE_BEFORE(me) -> send_take(me) }
#if WIPES > 0
	:: d_step { other[me].kind == NONE && ver[me] && claim.state == MISSING ->            /* missing is not free */
		printf("node %d sends: the missing claim is vacant\n", me); other[me].kind = CREATE; other[me].exp = 0; other[me].ep = VACANT_EPOCH(me) }
	:: d_step { claim.state == VACANT && !(vacant_seen[me] & CUR) && SEES_VACANT(me) ->
		printf("node %d first sees the vacant claim\n", me); vacant_seen[me] = CLAIM_NOW; vacant_wait[me] = WAIT; GOES_ON(me) }
	:: d_step { MAY_CLAIM(me) && PAST_PROMISES_OVER(me) && claim.state == VACANT && VACANT_LONG_ENOUGH(me) && ALL_CLEARED(me) -> send_take(me) }
#ifdef VAR_NAMES
	:: d_step { holds[me] && !(claim.state == HELD && claim.who == me && claim.inc == inc[me]) ->
		printf("node %d looks, and its claim is gone: gate closed\n", me); gate[me] = 0; lose_claim(me); stop_asking(me) }
#endif
#endif
#ifdef BIDS
	:: d_step { other[me].kind == NONE && ver[me] && claim.state == HELD && claim.who != me ->
		other[me].kind = BID; other[me].exp = CLAIM_NOW }
#endif
	:: d_step { taking[me] == DONE && IN_TIME(me) ->
		printf("node %d learns that it has won the claim\n", me);
		if :: ver[me] -> holds[me] = 1; ep[me] = taking_ep[me] :: else fi;
		taking[me] = 0; taking_ep[me] = 0 }
	:: d_step { taking[me] == FAILED -> taking[me] = 0; taking_ep[me] = 0 }
	READ_BACK(me)
#ifdef MUT_STALE_READ_DENIES
	:: d_step { taking[me] -> taking[me] = 0; taking_ep[me] = 0 }     /* "the record is not mine: it did not happen" */
	:: d_step { !holds[me] && !taking[me] && ver[me] && claim.state == HELD && claim.who == me && claim.inc == inc[me] &&
		other[me].kind == NONE -> holds[me] = 1; ep[me] = claim.ep }
#endif

#ifndef NO_FAILSAFE
	/* ---- ask for promises: every elector must grant */
	:: d_step { holds[me] && ver[me] && deadline[me] > 0 && !ask[me] ->
		printf("node %d asks for promises\n", me); ask[me] = 1; ASKED(me) ask_worth[me] = L }
	:: d_step { ask[me] ->                                    /* one did not answer */
		ask[me] = 0; ask_worth[me] = 0;
#ifndef MUT_NO_NONCE
		ask_got[me] = 0
#endif
		}
	:: d_step { ask[me] && ask_got[me] == OTHERS(me) ->
		if
		:: holds[me] && ver[me] && PROMISE_COUNTS(me) && NEWER(ask_worth[me], deadline[me]) ->
#ifdef REACH_FAILSAFE
			assert(!OPEN(me));
#endif
			EXTENDED_BY(me, ask_worth[me], ask_dated)
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
#ifdef VAR_RESUME
	/* ... or resumed: the next worker of the same run finds the flag in the kernel with its epoch. What lies within its
	   deadline may be adopted, by a record that names this incarnation and epoch; everything else is closed. */
	:: d_step { resumes < RESUMES ->
		resumes++; k = (gate[me] -> ep[me] : 0); n = OPEN(me); printf("node %d crashes and is resumed\n", me);
		crash(me, a, b);
		if :: k && (n || INHERITS) -> ep[me] = k; adopt[me] = n; inherits[me] = 1 :: else -> gate[me] = 0 fi;
		k = 0; n = 0 }
	:: d_step { ver[me] == 0 && own[me].kind == NONE && renewal[me] == 0 && resumes > 0 && session[me].there && !session[me].ended && session[me].inc == inc[me] ->
		printf("node %d reads its session and goes on\n", me); ver[me] = SESSION_NOW(me) }
	:: d_step { adopt[me] && ver[me] && claim.state == HELD && claim.who == me && claim.inc == inc[me] && claim.ep == ep[me] ->
		printf("node %d goes on holding the claim\n", me); holds[me] = 1; adopt[me] = 0; inherits[me] = 0 }
	:: d_step { adopt[me] && !(claim.state == HELD && claim.who == me && claim.inc == inc[me] && claim.ep == ep[me]) ->
		printf("node %d reads that the claim is not its own\n", me); adopt[me] = 0; CLOSE_INHERITED(me) }
#endif
#ifdef VAR_KEEP_INCARNATION
	/* ... or goes on with whatever it reads, whether its gate is open or not (a defect) */
	:: d_step { session[me].there && !session[me].ended && session[me].inc == inc[me] ->
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

/* The rules a node keeps, and the defects planted in them (MUT_). */

/* A success that comes after the deadline that was current when it was asked for does not count: what is out
   when the deadline passes is worth nothing from then on. A renewal sent after the deadline counts again: a
   BACKUP's, or a lapsed holder's whose version chain is unbroken (not with VAR_LAPSE_LETS_GO). */
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

/* A claim held by incarnation i is free once i has ended: the session says so, or shows a later incarnation. */
#ifdef MUT_OTHER_INC_IS_ENDED
#define ENDED(j, i) ((session[j].there && (session[j].inc != i || session[j].ended)) || (stale_inc[j] && stale_inc[j] != i))
#else
#define ENDED(j, i) (session[j].there && (session[j].inc > i || (session[j].inc == i && session[j].ended)))
#endif

#ifdef VAR_PLAIN_HEARTBEAT
#define OVER(me, j) ((seen[me*N+j] & CUR) && seen_wait[me*N+j] == 0)
#else
#define OVER(me, j) ENDED(j, claim.inc)
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

/* A promise is about an epoch: a record released at that epoch or later lifts it, for its holder closed its gate
   before it released. It goes on forbidding to end the session. */
#define LIFTED(me) (claim.state == RELEASED && claim.ep >= bound_ep[me])
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
#define VACANT_LONG_ENOUGH(me) ((vacant_seen[me] & CUR) && vacant_wait[me] == 0)
#endif

/* Within the bounds of the run nobody can take the claim any more. What could then only stop somebody (an END, a release) is
   not searched: every gate that can open with it opens without it. Not so where there are promises: who has let go may promise. */
#if !defined(NO_FAILSAFE)
#define SETTLED false
#elif defined(VAR_NAMES)
#define SETTLED (top_epoch >= MAXEP || (top_epoch == MAXEP - 1 && wipes >= WIPES && claim.state != VACANT && claim.state != MISSING))
#elif defined(VAR_ROLLBACK)
#define SETTLED (claim.ep >= MAXEP && snap != 1)
#else
#define SETTLED (claim.ep >= MAXEP && claim.state != VACANT && claim.state != MISSING && wipes >= WIPES)
#endif

#define CAN_CLAIM(me) (other[me].kind == NONE && ver[me] && MAY_TAKE_LAPSED(me) && !holds[me] && !taking[me] && !OVERLOOKS(me) && claim.ep < MAXEP && OF_INTEREST(me))
#define MAY_CLAIM(me) (CAN_CLAIM(me) && (NOT_BOUND(me) || LIFTED(me)))
#ifdef MUT_OWN_CLAIM_UNBOUND
#define MAY_TAKE_OWN(me) CAN_CLAIM(me)
#else
#define MAY_TAKE_OWN(me) MAY_CLAIM(me)
#endif

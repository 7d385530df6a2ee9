/* The store: what a swap does when it arrives, and which versions are the register's own. */

inline forget(s) { s.kind = NONE; s.at = 0; s.exp = 0; s.inc = 0; s.ep = 0 }

inline overwritten(v) { v = v & (WAS + SNAP) }

/* A swap on a version that is gone for good can only fail, whenever it arrives: it is taken off the network
   now, and its sender, if it still waits, may learn of the conflict at any time from now on. */
#define DOOMED(s) (s.exp == WAS)

inline own_doomed(i) {
	if
	:: own[i].kind && DOOMED(own[i]) ->
		forget(own[i]); NAMES_FORGOTTEN(i)
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
	UNCHANGED(ver[i]); UNCHANGED(renewal_ver[i]); overwritten(own[i].exp); own_doomed(i);
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
		if :: vacant_seen[k] == 0 -> vacant_wait[k] = 0 :: else fi;
		RECORD_REPLACED(k)
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
		session[by].there = 1; session[by].inc = now_inc; session[by].ended = 0; LEASE_ARRIVES(by) NAMES_ARRIVE(by)
		if :: now_awaited && renewal[by] == PENDING -> renewal[by] = DONE; renewal_ver[by] = NOW :: else fi
	:: now_ok && now_kind == END ->
		session_overwritten(now_at);
		session[now_at].there = 1; session[now_at].ended = 1; END_ARRIVES(by, now_at)
	:: now_ok && now_kind >= TAKE ->
		claim_overwritten();
		if
		:: now_kind == TAKE ->
			assert(now_ep > top_epoch || wipes > 0 || CONFIRMED(by));       /* EPOCH */
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

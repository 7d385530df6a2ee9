/*
 * VAR_NAMES: the rules by which a claim is taken whose record was lost (core/witnesses.py).
 *
 * A session names the claim from before the swap that takes it is answered until the gate is closed, and marks the vacant
 * record that its node has seen while it held nothing by another one. A vacant claim is taken when every other
 * session is cleared: it carries the mark, or this node ended it since it saw that record, or it does not name the claim
 * in a record written after the loss. (The code waits HEARSAY for a record that is new to it, so that it cannot be older
 * than the loss. Here a ghost tells how old it is; VAR_FIRST_LOOK takes whatever the first look after W shows.)
 *
 * A mark is of the vacant record that lies there now: one of a record that is gone says nothing, and is 0.
 */
#ifdef VAR_NAMES
bit own_names[N]; bit names[N];             /* in a swap on its way, in the register */
bit own_marks[N]; bit marks[N];
bit ending[N];                              /* my END was sent since I saw the vacant record */
byte cleared[N];                            /* by me: the others that hold nothing but by a swap on the vacant record */
#ifndef VAR_FIRST_LOOK
bit written_since[N];                       /* ghost: this record of the session was written after the loss */
#define WRITTEN(i) written_since[i] = (wipes > 0);
#define NOT_WRITTEN(i) written_since[i] = 0;
#define LATER_THAN_LOSS(i) written_since[i]
#else
#define WRITTEN(i)
#define NOT_WRITTEN(i)
#define LATER_THAN_LOSS(i) true
#endif

#ifdef MUT_NAMES_ONLY_HELD
#define MUST_NAME(me) (holds[me])
#else
#define MUST_NAME(me) (holds[me] || taking[me] || gate[me])
#endif
#ifdef MUT_TAKE_OVERTAKES
#define OVERLOOKS(me) false
#else
#define OVERLOOKS(me) (own[me].kind == RENEW && !own_names[me])
#endif
#define SAYS_CLAIM(me) own_names[me] = MUST_NAME(me); own_marks[me] = ((vacant_seen[me] & CUR) && !own_names[me]);
#define NAMES_FORGOTTEN(me) own_names[me] = 0; own_marks[me] = 0;
#define NAMES_ARRIVE(by) names[by] = own_names[by]; marks[by] = own_marks[by]; NAMES_FORGOTTEN(by) WRITTEN(by)
#define NAMES_AT_FIRST(k)                   /* none: node 0 has just won, and has not written its session since */
#define END_SENT(me) ending[me] = (vacant_seen[me] & CUR);
#define END_ARRIVES(by, i) if :: ending[by] -> cleared[by] = cleared[by] | (1 << i) :: else fi; ending[by] = 0; WRITTEN(i)
#define RECORD_REPLACED(i) own_marks[i] = 0; marks[i] = 0; ending[i] = 0; cleared[i] = 0;

#define MARKED(j) (marks[j] && session[j].there && !session[j].ended)
#define DENIED(me, j) (vacant_wait[me] == 0 && session[j].there && (session[j].ended || !names[j]) && LATER_THAN_LOSS(j))
#define CLEAR(me, j) \
	:: d_step { (vacant_seen[me] & CUR) && !HAS(cleared[me], j) && (MARKED(j) || DENIED(me, j)) -> \
		printf("node %d: session %d is cleared by its record\n", me, j); cleared[me] = cleared[me] | (1 << j) }

#ifdef MUT_NAMED_IS_TAKEN
#define ALL_CLEARED(me) true
#else
#define ALL_CLEARED(me) (cleared[me] == OTHERS(me))
#endif
#define SEES_VACANT(me) (!holds[me] && !taking[me] && !gate[me])
#define VACANT_EPOCH(me) top_epoch          /* the code: the highest one it has seen */
/* Bounds: the last change of holder is the one after the loss; with START_RELEASED the first is node 1's (the other way round is the same). */
#define OF_INTEREST(me) (claim.state == VACANT || (claim.ep + 1 < MAXEP && me == 1))

/* Who held the record in whose place the vacant one lies: a contender that knew it, and knows no other one between. */
#ifdef MUT_VACANT_GOES_ON
byte held_before;                           /* 1 + node */
#define HELD_BEFORE held_before = (claim.state == HELD -> 1 + claim.who : 0);
#define GOES_ON(me) if :: held_before && held_before - 1 != me -> cleared[me] = 1 << (held_before - 1) :: else fi;
#else
#define HELD_BEFORE
#define GOES_ON(me)
#endif

#else
#define OF_INTEREST(me) true
#define OVERLOOKS(me) false
#define SAYS_CLAIM(me)
#define NAMES_FORGOTTEN(me)
#define NAMES_ARRIVE(by)
#define NAMES_AT_FIRST(k)
#define END_SENT(me)
#define END_ARRIVES(by, i)
#define RECORD_REPLACED(i)
#define NOT_WRITTEN(i)
#define CLEAR(me, j)
#define ALL_CLEARED(me) true
#define SEES_VACANT(me) true
#define VACANT_EPOCH(me) ep[me]
#define HELD_BEFORE
#define GOES_ON(me)
#endif

/*
 * The order of acknowledgements, as delivery/durable.c and store/sqlite_commit.c keep it, in every
 * interleaving of the loop, the store's thread, kills and power losses. Two messages, LIVES lives.
 *
 *     loop    accept -> PUT . . . . . committed: OK to the source, ready -> hand over -> END or SAVE . . .
 *     store               \_ write, sync, answer _/                                         \_ …
 *
 * A kill keeps what was written, a power loss only what was synced. One sync fails; the kernel then
 * forgets what it should have written, and the next sync would "succeed".
 *
 * Claims (facts of reliability: S1, S2, S4, S6):
 *   S1  what was acknowledged is on disk, or has ended;
 *   S2  what was told as ended is never handed over again;
 *   S4  nothing is promised on a commit that may have failed;
 *   S6  as many hand-overs as there were before this one are on record when it is made.
 *
 * Mutants (-D), each of which breaks a claim: ACK_EARLY DONE_EARLY HAND_EARLY NO_ARMING ANSWER_BEFORE_SYNC
 * RETRY_SYNC UNKNOWN_IS_OK.
 */
#define N 2
#define LIVES 3
#define ATTEMPTS 2

#define NONE 0
#define PUT 1
#define END 2
#define SAVE 3

mtype = { absent, putting, ready, saving, inflight, settling, gone };

typedef row { bool there; bool ended; byte attempt };

row written[N], synced[N]; /* what a kill leaves; what a power loss leaves */

/* one life */
mtype state[N];
byte attempt[N];      /* hand-overs that are known of */
bool old[N];          /* found at the start: it may have been in flight */
byte asked[N], batch[N], answered[N]; /* of the store: to be done, being done, done */
bool faulted, storing;

/* what the world has seen, in all lives */
bool acked[N], told[N], offered[N];
byte handed[N];
byte lives = 1;
bool sync_failed;

inline ask(i, what) { asked[i] = what }

inline acknowledge(i) {
    acked[i] = true
}

inline hand_over(i) {
    assert(!told[i]);                          /* S2 */
    assert(written[i].attempt >= handed[i]);   /* S6 */
    handed[i]++;
    state[i] = inflight
}

/* What is on disk is what was promised. Looked at when it matters: when a life has ended. */
inline check_promises() {
    i = 0;
    do
    :: i < N ->
        assert(!acked[i] || written[i].there || written[i].ended); /* S1, S4 */
        i++
    :: else -> break
    od
}

inline start_life() {
    i = 0;
    do
    :: i < N ->
        asked[i] = NONE; batch[i] = NONE; answered[i] = NONE;
        attempt[i] = written[i].attempt;
        old[i] = written[i].there;
        if
        :: written[i].there -> state[i] = ready
        :: !written[i].there && offered[i] -> state[i] = gone
        :: else -> state[i] = absent
        fi;
        i++
    :: else -> break
    od;
    faulted = false; storing = false
}

inline step(i) {
    if
    :: state[i] == absent && !faulted ->
        offered[i] = true;
        state[i] = putting;
        ask(i, PUT);
#ifdef ACK_EARLY
        acknowledge(i)
#endif
    :: answered[i] == PUT ->
        answered[i] = NONE;
        acknowledge(i);
        state[i] = ready
    :: state[i] == ready && old[i] && !faulted ->
        old[i] = false;
#ifndef NO_ARMING
        attempt[i]++;
        state[i] = saving;
        ask(i, SAVE)
#endif
    :: state[i] == ready && !old[i] && attempt[i] < ATTEMPTS ->
        hand_over(i)
    :: state[i] == inflight && !faulted ->       /* the service says OK */
        state[i] = settling;
        ask(i, END);
#ifdef DONE_EARLY
        told[i] = true
#endif
    :: state[i] == inflight && !faulted ->       /* it fails: again, when that is on record */
        attempt[i]++;
        ask(i, SAVE);
#ifdef HAND_EARLY
        state[i] = ready
#else
        state[i] = saving
#endif
    :: answered[i] == SAVE ->
        answered[i] = NONE;
        if
        :: state[i] == saving -> state[i] = ready
        :: else -> skip
        fi
    :: answered[i] == END ->
        answered[i] = NONE;
        told[i] = true;
        state[i] = gone
    fi
}

active proctype loop() {
    end:
    do
    :: atomic { step(0) }
    :: atomic { step(1) }
    od
}

inline apply(i) {
    if
    :: batch[i] == PUT -> written[i].there = true
    :: batch[i] == END -> written[i].there = false; written[i].ended = true
    :: batch[i] == SAVE -> written[i].attempt = attempt[i]
    :: else -> skip
    fi
}

inline take(i) { batch[i] = asked[i]; asked[i] = NONE }
inline sync(i) {
    synced[i].there = written[i].there;
    synced[i].ended = written[i].ended;
    synced[i].attempt = written[i].attempt
}
inline answer(i) { answered[i] = batch[i]; batch[i] = NONE }

active proctype store() {
    end:
    do
    :: atomic { !faulted && !storing && (asked[0] != NONE || asked[1] != NONE) -> storing = true; take(0); take(1) };
       atomic { storing -> apply(0); apply(1) };
#ifdef ANSWER_BEFORE_SYNC
       atomic { storing -> answer(0); answer(1) };
#endif
       if
       :: atomic { storing -> sync(0); sync(1) }
       :: atomic { storing && !sync_failed ->
              sync_failed = true;
#ifdef RETRY_SYNC
              skip  /* "succeeds" at the second try: the pages count as clean, and are not on disk */
#else
              faulted = true;
#ifdef UNKNOWN_IS_OK
              skip
#else
              storing = false
#endif
#endif
          }
       :: atomic { !storing -> skip } /* the life has ended meanwhile */
       fi;
       if
       :: atomic { storing -> answer(0); answer(1); storing = false }
       :: atomic { !storing -> skip }
       fi
    od
}

active proctype world() {
    byte i;
    end:
    do
    :: atomic { lives < LIVES ->       /* kill -9 */
           lives++;
           check_promises();
           start_life()
       }
    :: atomic { lives < LIVES ->       /* power */
           lives++;
           i = 0;
           do
           :: i < N ->
               written[i].there = synced[i].there;
               written[i].ended = synced[i].ended;
               written[i].attempt = synced[i].attempt;
               i++
           :: else -> break
           od;
           check_promises();
           start_life()
       }
    od
}

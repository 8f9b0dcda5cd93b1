/*
 * The order of acknowledgements, as delivery/durable.c, store/sqlite_commit.c and store/sqlite_sync.c keep it, in
 * every interleaving of the loop, the store's thread, the one that syncs beside it, kills and power losses. Two
 * messages, LIVES lives.
 *
 *     loop    accept -> PUT . . . . . . . . committed: OK to the source, ready -> hand over -> END or SAVE . . .
 *     store               \_ write _ (the next)   /                                              \_ …
 *     syncer                        \_ sync, answer
 *
 * A kill keeps what was written, a power loss only what was synced: what had been written when the sync began. One
 * sync fails; the kernel then forgets what it should have written, and the next sync would "succeed".
 *
 * Claims (facts of reliability: S1, S2, S4, S6):
 *   S1  what was acknowledged is on disk, or has ended;
 *   S2  what was told as ended is never handed over again;
 *   S4  nothing is promised on a commit that may have failed;
 *   S6  as many hand-overs as there were before this one are on record when it is made.
 *
 * Mutants (-D), each of which breaks a claim: ACK_EARLY DONE_EARLY HAND_EARLY NO_ARMING ANSWER_BEFORE_SYNC
 * ANSWER_BESIDE_SYNC RETRY_SYNC UNKNOWN_IS_OK.
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
row begun[N];              /* written when the sync under way began */

/* one life */
mtype state[N];
byte attempt[N];      /* hand-overs that are known of */
bool old[N];          /* found at the start: it may have been in flight */
byte asked[N], batch[N], unsynced[N], under[N], answered[N]; /* to be done, being written, written, being synced, done */
bool faulted, writing, syncing;

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
        asked[i] = NONE; batch[i] = NONE; unsynced[i] = NONE; under[i] = NONE; answered[i] = NONE;
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
    faulted = false; writing = false; syncing = false
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

inline hand_on(i) {
    if
    :: batch[i] != NONE ->
#ifdef ANSWER_BEFORE_SYNC
        answered[i] = batch[i];
#else
        unsynced[i] = batch[i];
#endif
        batch[i] = NONE
    :: else -> skip
    fi
}

active proctype store() {
    end:
    do
    :: atomic { !faulted && !writing && (asked[0] != NONE || asked[1] != NONE) -> writing = true; take(0); take(1) };
       if
       :: atomic { writing -> apply(0); apply(1); hand_on(0); hand_on(1); writing = false }
       :: atomic { !writing -> skip } /* the life has ended meanwhile */
       fi
    od
}

inline begin(i) {
    under[i] = unsynced[i]; unsynced[i] = NONE;
    begun[i].there = written[i].there;
    begun[i].ended = written[i].ended;
    begun[i].attempt = written[i].attempt
}

inline sync(i) {
    synced[i].there = begun[i].there;
    synced[i].ended = begun[i].ended;
    synced[i].attempt = begun[i].attempt
}

inline answer(i) {
    if
    :: under[i] != NONE -> answered[i] = under[i]; under[i] = NONE
#ifdef ANSWER_BESIDE_SYNC
    :: under[i] == NONE && unsynced[i] != NONE -> answered[i] = unsynced[i]; unsynced[i] = NONE
    :: under[i] == NONE && unsynced[i] == NONE -> skip
#else
    :: else -> skip
#endif
    fi
}

active proctype syncer() {
    end:
    do
    :: atomic { !faulted && !syncing && (unsynced[0] != NONE || unsynced[1] != NONE) ->
           syncing = true; begin(0); begin(1)
       };
       if
       :: atomic { syncing -> sync(0); sync(1) }
       :: atomic { syncing && !sync_failed ->
              sync_failed = true;
#ifdef RETRY_SYNC
              skip  /* "succeeds" at the second try: the pages count as clean, and are not on disk */
#else
              faulted = true;
#ifdef UNKNOWN_IS_OK
              skip
#else
              syncing = false
#endif
#endif
          }
       :: atomic { !syncing -> skip } /* the life has ended meanwhile */
       fi;
       if
       :: atomic { syncing -> answer(0); answer(1); syncing = false }
       :: atomic { !syncing -> skip }
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

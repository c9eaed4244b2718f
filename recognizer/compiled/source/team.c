/* A team that waits for its next piece with its eyes open, as one comes every few microseconds (a step of the decoder
   has sixty), and sleeps between calls. Whoever is kept from working holds nobody up but for the piece that it has. */

#include "team.h"

#include <immintrin.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <time.h>

#define MOST_HELPERS 63
#define LINGER_NS 500000
#define PATIENCE 256 /* looks, before others may have the core */

static pthread_mutex_t taken = PTHREAD_MUTEX_INITIALIZER, door = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t called = PTHREAD_COND_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static int64_t n_helpers;
static _Atomic int64_t n_awake; /* helpers that are to work: those with lower numbers */
static __thread int has_team;

/* What is shared: its number in the upper half, and how many pieces are left in the lower one. Who takes a piece knows
   that the rest is not changed until it is done. */
static _Atomic uint64_t offer;
static _Atomic int64_t n_done;
static struct {
    work piece;
    void *of;
    int64_t n, at_once;
} shared;

static int take(void) {
    uint64_t seen = atomic_load_explicit(&offer, memory_order_acquire);
    while ((uint32_t)seen) {
        if (!atomic_compare_exchange_weak(&offer, &seen, seen - 1)) continue;
        int64_t first = (int64_t)((uint32_t)seen - 1) * shared.at_once, end = first + shared.at_once;
        shared.piece(shared.of, first, end < shared.n ? end : shared.n);
        atomic_fetch_add(&n_done, 1);
        return 1;
    }
    return 0;
}

static void wait_a_little(int64_t *looks) {
    _mm_pause();
    if (++*looks % PATIENCE == 0) sched_yield();
}

/* Another call often follows within half a millisecond. */
static void linger(intptr_t number) {
    struct timespec now, end;
    clock_gettime(CLOCK_MONOTONIC, &end);
    end.tv_nsec += LINGER_NS;
    int64_t looks = 0;
    do {
        if (number < n_awake) return;
        wait_a_little(&looks);
        clock_gettime(CLOCK_MONOTONIC, &now);
    } while ((now.tv_sec - end.tv_sec) * 1000000000L + now.tv_nsec < end.tv_nsec);
}

static void *help(void *number) {
    for (;;) {
        pthread_mutex_lock(&door);
        while ((intptr_t)number >= n_awake) pthread_cond_wait(&called, &door);
        pthread_mutex_unlock(&door);
        for (int64_t looks = 0; (intptr_t)number < n_awake;)
            if (take())
                looks = 0;
            else
                wait_a_little(&looks);
        linger((intptr_t)number);
    }
    return NULL;
}

/* Threads are not forked. */
static void begin_alone(void) {
    pthread_mutex_init(&taken, NULL);
    pthread_mutex_init(&door, NULL);
    pthread_cond_init(&called, NULL);
    n_helpers = n_awake = offer = 0;
    has_team = 0;
}

static void watch_forks(void) { pthread_atfork(NULL, NULL, begin_alone); }

/* Signals are for the threads of whoever called. */
static void hire(int64_t wanted) {
    sigset_t all, before;
    pthread_t thread;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (n_helpers < wanted && !pthread_create(&thread, NULL, help, (void *)(intptr_t)n_helpers)) {
        pthread_detach(thread);
        n_helpers++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

void gather(int64_t threads) {
    int64_t wanted = threads - 1 < MOST_HELPERS ? threads - 1 : MOST_HELPERS;
    if (wanted < 1) return;
    pthread_once(&once, watch_forks);
    if (pthread_mutex_trylock(&taken)) return;
    hire(wanted);
    has_team = 1;
    pthread_mutex_lock(&door);
    n_awake = wanted;
    pthread_cond_broadcast(&called);
    pthread_mutex_unlock(&door);
}

void disband(void) {
    if (!has_team) return;
    pthread_mutex_lock(&door);
    n_awake = 0;
    pthread_mutex_unlock(&door);
    has_team = 0;
    pthread_mutex_unlock(&taken);
}

void share(work piece, void *of, int64_t n, int64_t at_once) {
    if (!has_team || n <= at_once) {
        if (n > 0) piece(of, 0, n);
        return;
    }
    int64_t pieces = (n + at_once - 1) / at_once, looks = 0;
    shared.piece = piece, shared.of = of, shared.n = n, shared.at_once = at_once;
    n_done = 0;
    offer = ((offer >> 32) + 1) << 32 | (uint64_t)pieces;
    while (take()) continue;
    while (atomic_load_explicit(&n_done, memory_order_acquire) < pieces) wait_a_little(&looks);
}

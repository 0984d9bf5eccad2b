/*
 * clock.h - virtual time in whole ticks of 2^-40 s, so that a state that comes again later is equal to the last bit.
 */
#ifndef SIM_CLOCK_H
#define SIM_CLOCK_H

#include <math.h>
#include <stdint.h>

#define SIM_TICKS_PER_S 1099511627776.0

/* Sums over long runs: 2^63 ticks are 97 days. */
__extension__ typedef __int128 sim_long;

/* Seconds of one instruction or message that the clock bears, with room for all that is under way at once. */
#define SIM_MOST_S 1e5

static inline int64_t sim_ticks(double seconds)
{
    return llround(seconds * SIM_TICKS_PER_S);
}

static inline double sim_seconds(sim_long ticks)
{
    return (double)ticks / SIM_TICKS_PER_S;
}

#endif

/* Work in pieces, which the threads of a team take one after the other. What comes out must not depend on who takes
   which. */

#pragma once

#include <stdint.h>

#pragma GCC visibility push(hidden) /* another library's functions may have these names */

typedef void (*work)(void *of, int64_t first, int64_t end);

/* Until `disband`, what the calling thread shares is done by so many threads. While another thread has the team, the
   caller works alone. */
void gather(int64_t threads);
void disband(void);

/* Do `piece` of 0 to n, so many at once. */
void share(work piece, void *of, int64_t n, int64_t at_once);

#pragma GCC visibility pop

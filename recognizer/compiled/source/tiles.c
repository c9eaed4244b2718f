/* Whether this process may have tiles. */

#include "tiles.h"

#if HAS_TILES
#include <sys/syscall.h>
#include <unistd.h>

#define ARCH_REQ_XCOMP_PERM 0x1023
#define XFEATURE_XTILE_DATA 18
#endif

int has_tiles(void) { return HAS_TILES; }

/* Linux gives tiles to a process that asks for them, and to those that it forks (its
   Documentation/arch/x86/xstate.rst). Returns whether it does; without tiles there is nothing to ask for. */
int ask_for_tiles(void) {
#if HAS_TILES
    return syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILE_DATA) == 0;
#else
    return 1;
#endif
}

/* Preloaded: the call of fsync or fdatasync of the number in FAIL_SYNC fails, as of a broken disk. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

static atomic_int calls;

static int fails(void) {
	const char *which = getenv("FAIL_SYNC");
	return which && atomic_fetch_add(&calls, 1) + 1 == atoi(which);
}

#define SYNC(name)                                                  \
	int name(int file) {                                        \
		int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, #name); \
		if (fails()) {                                      \
			errno = EIO;                                \
			return -1;                                  \
		}                                                   \
		return real(file);                                  \
	}

SYNC(fsync)
SYNC(fdatasync)

/* How many there were. */
int syncs(void) {
	return atomic_load(&calls);
}

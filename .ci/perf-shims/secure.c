/* For Ceph's perf_msgr, beside nosleep.c: msgr v2 in mode secure. perf_msgr authenticates by
   a dummy that agrees on crc and brings no key, so both sides are told, at the one place where
   Ceph makes the ciphers of a connection, that secure was agreed on, with a key that is the same
   for all. What encrypts, and when, is Ceph's own code.

   The place is a function that the library calls itself, so it cannot be replaced by name: its
   first bytes are. They, and the layout of its argument, are those of one release on amd64; with
   any other one the program ends. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
	/* Where the argument has the mode (1 crc, 2 secure), and the secret (a std::string). */
	MODE = 36,
	SECRET = 88,
	SECRET_LEN = 64,
	/* Bytes of the function before it looks at the mode; none of them depends on its place. */
	HEAD = 18,
	PAGE = 4096,
};

static const char NAME[] =
	"_ZN4ceph6crypto6onwire6rxtx_t19create_handler_pair"
	"EPNS_6common11CephContextERK18AuthConnectionMetabb";

typedef void *make_ciphers(void *out, void *context, char *agreed, int is_rev1, int crossed);

static make_ciphers *original;

static void give_up(const char *why)
{
	fprintf(stderr, "secure.so: %s\n", why);
	_exit(1);
}

static void put_jump(unsigned char *at, void *to)
{
	static const unsigned char code[6] = { 0xff, 0x25 };

	memcpy(at, code, sizeof(code));
	memcpy(at + sizeof(code), &to, sizeof(to));
}

static void *secure(void *out, void *context, char *agreed, int is_rev1, int crossed)
{
	int *mode = (int *)(agreed + MODE);
	char **bytes = (char **)(agreed + SECRET);
	uint64_t *len = (uint64_t *)(agreed + SECRET + 8);

	if (*mode != 1 || *len != 0)
		give_up("this is not the release of Ceph that it is made for");
	*bytes = malloc(SECRET_LEN + 1);
	if (!*bytes)
		give_up("no memory");
	memset(*bytes, 7, SECRET_LEN);
	len[0] = len[1] = SECRET_LEN;
	*mode = 2;
	return original(out, context, agreed, is_rev1, crossed);
}

__attribute__((constructor)) static void begin(void)
{
	static const unsigned char looks_at_mode[4] = { 0x83, 0x7a, MODE, 2 };
	unsigned char *function = dlsym(RTLD_DEFAULT, NAME);
	unsigned char *page;

	if (!function || memcmp(function + HEAD, looks_at_mode, sizeof(looks_at_mode)))
		give_up("this is not the release of Ceph that it is made for");
	page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (page == MAP_FAILED)
		give_up("no memory");
	memcpy(page, function, HEAD);
	put_jump(page + HEAD, function + HEAD);
	original = (make_ciphers *)page;
	page = (unsigned char *)((uintptr_t)function & ~(uintptr_t)(PAGE - 1));
	if (mprotect(page, 2 * PAGE, PROT_READ | PROT_WRITE | PROT_EXEC))
		give_up("its code cannot be changed");
	put_jump(function, secure);
}

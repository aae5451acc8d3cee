/* SPDX-License-Identifier: Apache-2.0 */
/* Copyright The otel_ebpf Authors */
/* A C program that serves by a Go library: shared_host LIBRARY. */
#include <dlfcn.h>
#include <stdio.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	void *library = argc == 2 ? dlopen(argv[1], RTLD_NOW) : 0;
	void (*serve)(void) = 0;

	if (library)
		*(void **)&serve = dlsym(library, "Serve");
	if (!serve) {
		fprintf(stderr, "shared_host: %s\n", argc == 2 ? dlerror() : "usage: shared_host LIBRARY");
		return 1;
	}
	serve();
	return 0;
}

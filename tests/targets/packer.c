/* SPDX-License-Identifier: Apache-2.0 */
/* Copyright The otel_ebpf Authors */
/*
 * A packed executable as packers make it: this loader, and the program as zlib data that it unpacks into its own process.
 * PACKED is the name of the data's file, UNPACKED_BYTES its size before. For static executables at fixed addresses.
 */
#define _GNU_SOURCE
#include <elf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <zlib.h>

__asm__(".section .rodata\n"
	".global packed_begin, packed_end\n"
	"packed_begin: .incbin \"" PACKED "\"\n"
	"packed_end:\n"
	".text\n");
extern const unsigned char packed_begin[], packed_end[];

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

/* The kernel's view of the stack: argc, argv, 0, environment, 0, auxiliary vector. */
static void enter(void *stack, unsigned long entry)
{
	__asm__ volatile("mov %0, %%rsp\n\txor %%edx, %%edx\n\tjmp *%1" : : "r"(stack), "r"(entry) : "rdx", "memory");
	__builtin_unreachable();
}

static void set_auxiliary(char **environment, unsigned long type, unsigned long value)
{
	Elf64_auxv_t *entry;

	while (*environment++)
		;
	for (entry = (Elf64_auxv_t *)environment; entry->a_type != AT_NULL; entry++)
		if (entry->a_type == type)
			entry->a_un.a_val = value;
}

int main(int argc, char **argv, char **environment)
{
	unsigned long size = UNPACKED_BYTES;
	unsigned char *program = malloc(size);
	const Elf64_Ehdr *header = (const Elf64_Ehdr *)program;
	const Elf64_Phdr *segment;
	int i;

	(void)argc;
	if (!program || uncompress(program, &size, packed_begin, packed_end - packed_begin) != Z_OK)
		fail("unpack");
	segment = (const Elf64_Phdr *)(program + header->e_phoff);
	for (i = 0; i < header->e_phnum; i++, segment++) {
		unsigned long begin = segment->p_vaddr & ~4095UL;
		unsigned long bytes = (segment->p_vaddr + segment->p_memsz + 4095 - begin) & ~4095UL;
		int protection = (segment->p_flags & PF_R ? PROT_READ : 0) | (segment->p_flags & PF_W ? PROT_WRITE : 0) |
				 (segment->p_flags & PF_X ? PROT_EXEC : 0);

		if (segment->p_type != PT_LOAD)
			continue;
		if (mmap((void *)begin, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) ==
		    MAP_FAILED)
			fail("map");
		memcpy((void *)segment->p_vaddr, program + segment->p_offset, segment->p_filesz);
		if (mprotect((void *)begin, bytes, protection))
			fail("protect");
	}
	set_auxiliary(environment, AT_ENTRY, header->e_entry);
	enter((unsigned long *)argv - 1, header->e_entry);
}

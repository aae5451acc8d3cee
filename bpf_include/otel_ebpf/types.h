/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Copyright The otel_ebpf Authors */
/* Structs that BPF C and C++ share.  BPF: include vmlinux.h, vmlinux_min.h or linux/types.h first. */
#ifndef OTEL_EBPF_TYPES_H
#define OTEL_EBPF_TYPES_H

#ifndef __bpf__
#include <linux/types.h>
#endif

#ifdef __cplusplus
#define OE_STATIC_ASSERT static_assert
#elif __STDC_VERSION__ < 201112L /* C99 */
#define OE_STATIC_ASSERT(condition, text) extern char oe_static_assertion[(condition) ? 1 : -1]
#else
#define OE_STATIC_ASSERT _Static_assert
#endif

/* 1 where handlers may call BPF helpers: in BPF, and in host tests that define OE_HOST_BPF and shim the helpers. */
#if defined(__bpf__) || defined(OE_HOST_BPF)
#define OE_BPF_SIDE 1
#else
#define OE_BPF_SIDE 0
#endif

/* Raised whenever a layout in this file or the shape of a map changes; two bundles of one Manager must agree. */
#define OE_ABI_VERSION 2

/* ---- trace context (W3C Trace Context) -------------------------------------------------------------------- */

/* Ids are bytes in W3C order, never viewed as integers. */
struct oe_trace_ctx {
	__u8 trace_id[16];
	__u8 span_id[8];
	__u8 flags; /* W3C trace-flags; bit 0 sampled */
	__u8 pad[7];
};
OE_STATIC_ASSERT(sizeof(struct oe_trace_ctx) == 32, "trace context with flags is 32 bytes");

/* Value of the pinned map traces_ctx_v1 (OTEP 4855): exactly these bytes, never grown. */
struct oe_traces_ctx_v1 {
	__u8 trace_id[16];
	__u8 span_id[8];
};
OE_STATIC_ASSERT(sizeof(struct oe_traces_ctx_v1) == 24, "traces_ctx_v1 value is 24 bytes");

#define OE_TRACES_CTX_NAME "traces_ctx_v1"
#define OE_TRACES_CTX_ENTRIES 16384 /* never scaled: peers refuse any other number */

/* How the current span of a process' threads gets into traces_ctx_v1; oe_process.publication. */
enum oe_publication {
	OE_PUBLISH_OFF = 0,
	OE_PUBLISH_JIT = 1,   /* at the profiler's timer interrupt, gone when it ends */
	OE_PUBLISH_EAGER = 2, /* whenever it changes */
};

/*
 * Who wrote an entry of traces_ctx_v1 that stays (eager publication): value of the map of owned keys, which has the same
 * keys and is pinned next to it, since the shared value has no room for an owner.
 */
struct oe_ctx_owned {
	__u8 span_id[8]; /* as written */
	__u64 owner;     /* the tool: tgid << 32 | low half of its start time in clock ticks */
};
OE_STATIC_ASSERT(sizeof(struct oe_ctx_owned) == 16, "no hidden padding");

/* What came of publishing the context of one process; value of oe_ctx_counts, by tgid. */
struct oe_ctx_counts {
	__u64 published;     /* entries written */
	__u64 foreign;       /* not written: another tool's entry was there */
	__u64 failed;        /* not written: the map refused it */
	__u64 unreadable;    /* not written: who runs could not be read from the process' memory */
	__u64 both;          /* the SDK in the process and this tool each had a context */
	__u64 trace_differs; /* of those: not of one trace, which is a bug somewhere */
	__u64 span_differs;  /* of those: one trace, different spans, which is normal */
};

/* Self-test of publication just in time; the only row of oe_self_test. */
struct oe_self_test {
	__u64 key;    /* of the thread that tries it, as in traces_ctx_v1; 0: none */
	struct oe_traces_ctx_v1 ctx;
	__u64 found;  /* samples that saw ctx */
	__u64 missed;
};
OE_STATIC_ASSERT(sizeof(struct oe_self_test) == 48, "no hidden padding");

/* Key of what is known of one goroutine. */
struct oe_go_key {
	__u64 goid;
	__u32 tgid;
	__u32 generation; /* of the process row */
};

/* The span that a goroutine without one of its own works for, decided once; value of oe_go_origins. */
struct oe_go_origin {
	__u64 holder_goid; /* whose span it is; 0: nobody's */
	__u32 holder_depth;
	__u32 pad;
	__u8 span_id[8];   /* the holder's place may have another span by now: then there is none */
};
OE_STATIC_ASSERT(sizeof(struct oe_go_origin) == 24, "no hidden padding");

/* ---- contexts that SDKs publish inside processes (OTEP 4947) ------------------------------------------------- */

/* What is known of the current thread's own context. */
enum oe_sdk_state {
	OE_SDK_ABSENT = 0, /* the process publishes no context of its own */
	OE_SDK_NONE = 1,   /* it does, but this thread has no valid one now */
	OE_SDK_VALID = 2,
};

enum oe_tls_kind {
	OE_TLS_UNKNOWN = 0, /* the process publishes contexts where they can't be found: every read gives OE_SDK_NONE */
	OE_TLS_STATIC = 1,  /* the variable is at the thread pointer + offset */
	OE_TLS_DTV = 2,     /* at dynamic thread vector[module_id] + offset */
};

/* Where otel_thread_ctx_v1 of a process' current thread is; value of oe_sdk_threads, by tgid. */
struct oe_tls_location {
	__s64 offset;
	__u64 module_id;
	__s32 dtv_offset;        /* of the vector's address from the thread pointer */
	__s16 dtv_count_offset;  /* of the number of entries, from the vector */
	__u8 dtv_stride;         /* bytes per entry */
	__u8 kind;               /* enum oe_tls_kind */
};
OE_STATIC_ASSERT(sizeof(struct oe_tls_location) == 24, "no hidden padding");

#define OE_THREAD_ATTRS_BYTES 256

/* Attributes of a thread context as published: {key u8, length u8, bytes} one after the other. */
struct oe_thread_attrs {
	__u16 size_bytes;      /* in bytes[] */
	__u16 published_bytes; /* above size_bytes: cut, or not readable */
	__u8 bytes[OE_THREAD_ATTRS_BYTES];
};
OE_STATIC_ASSERT(sizeof(struct oe_thread_attrs) == 4 + OE_THREAD_ATTRS_BYTES, "no hidden padding");

/* ---- pprof labels of goroutines ----------------------------------------------------------------------------- */

enum oe_go_labels_format {
	OE_GO_LABELS_MAP = 0,   /* up to go1.23 */
	OE_GO_LABELS_SLICE = 1, /* since go1.24 */
};

#define OE_GO_LABELS 10
#define OE_GO_LABEL_KEY 16   /* with the NUL */
#define OE_GO_LABEL_VALUE 48 /* with the NUL: room for a trace id in hex */

struct oe_go_label {
	char key[OE_GO_LABEL_KEY];
	char value[OE_GO_LABEL_VALUE];
};

struct oe_go_labels {
	__u16 published; /* labels that the goroutine has; above count: not read */
	__u8 count;
	__u8 cut;        /* 1: a key or value was too long */
	struct oe_go_label label[OE_GO_LABELS];
};
OE_STATIC_ASSERT(sizeof(struct oe_go_labels) == 4 + OE_GO_LABELS * 64, "no hidden padding");

/* ---- attach cookie: executable row << 32 | site descriptor -------------------------------------------------- */

enum oe_site_kind {
	OE_SITE_ENTRY = 0,
	OE_SITE_NEXT_CALL = 1,  /* entry of the function always called next: the end of an operation */
	OE_SITE_AFTER_CALL = 2, /* in the caller, after the call returned */
	OE_SITE_RETURN = 3,     /* in the function, on an exit path */
};

/* A conditional jump of the Go stack check is hit again after the stack grew: the saved flags tell. */
enum oe_flags_filter {
	OE_FILTER_NONE = 0,
	OE_FILTER_STACK_CHECK = 1, /* amd64: skip when CF or ZF is set; arm64: skip unless C && !Z */
};

enum oe_cost_class {
	OE_COST_EMULATED = 0,
	OE_COST_STEPPED = 1,
};

enum oe_arg_convention {
	OE_ARGS_GO_REGISTERS = 0, /* ABIInternal, live at this site */
	OE_ARGS_GO_RESULTS = 1,   /* result registers of the call before the site */
	OE_ARGS_NONE = 2,
	OE_ARGS_NATIVE_REGISTERS = 3, /* System V ABI, live at this site */
	OE_ARGS_NATIVE_RESULTS = 4,
};

/*
 * Site descriptor: bits 0-3 kind, 4-7 flags filter, 8-11 cost class, 12-15 argument convention, 16-23 zero, 24-31 round:
 * hits of links whose round is not that of the executable's row don't count, so that links can be replaced under load.
 */
#define OE_SITE_DESCRIPTOR(kind, filter, cost, args) \
	((__u32)(kind) | (__u32)(filter) << 4 | (__u32)(cost) << 8 | (__u32)(args) << 12)
#define OE_DESCRIPTOR_ROUND(d) ((d) >> 24)
#define OE_WITH_ROUND(descriptor, round) (((__u32)(descriptor) & 0xffffff) | (__u32)(round) << 24)
#define OE_DESCRIPTOR_KIND(d) ((d) & 0xf)
#define OE_DESCRIPTOR_FILTER(d) (((d) >> 4) & 0xf)
#define OE_DESCRIPTOR_COST(d) (((d) >> 8) & 0xf)
#define OE_DESCRIPTOR_ARGS(d) (((d) >> 12) & 0xf)
#define OE_COOKIE(row, descriptor) ((__u64)(row) << 32 | (__u32)(descriptor))

/* ---- tables filled by the Manager --------------------------------------------------------------------------- */

#define OE_NO_SLOT 0xffff  /* a fact slot in .rodata that no Probe asked for */
#define OE_UNKNOWN 0xffff  /* sentinel in value[]: this executable lacks the fact */
#define OE_EXE_ADDRS 16
#define OE_EXE_VALUES 128

/* Row of oe_exes: the facts of one executable, by index. */
struct oe_exe {
	__u64 addr[OE_EXE_ADDRS];    /* virtual addresses of the file; 0 = unknown */
	__u16 value[OE_EXE_VALUES];  /* member offsets, type sizes, version flags */
	__u32 any_process;           /* 1: processes not in oe_processes join at their first hit */
	__s32 tls_g_offset;          /* of g from the thread pointer; 0 = unknown, on arm64: none */
	__u32 round;                 /* 0 to 255, see OE_SITE_DESCRIPTOR */
	__u32 publication;           /* enum oe_publication, of processes that join */
};
OE_STATIC_ASSERT(sizeof(struct oe_exe) == 8 * OE_EXE_ADDRS + 2 * OE_EXE_VALUES + 16, "no hidden padding");

/* Row of oe_processes, keyed by tgid of the initial PID namespace. */
struct oe_process {
	__u32 exe_row;
	__u32 generation;     /* unique per process seen since load: tells a reused tgid from its predecessor */
	__u64 load_bias;
	__u64 probes;         /* bit per enabled Probe */
	__s32 tls_g_offset;
	__u8 publication;     /* enum oe_publication */
	__u8 pad[3];
};
OE_STATIC_ASSERT(sizeof(struct oe_process) == 32, "process row is 32 bytes");

/* ---- records ------------------------------------------------------------------------------------------------ */

/* Kinds below OE_KIND_FIRST_PROBE are the library's own; the Manager numbers Probes from there. */
enum oe_kind {
	OE_KIND_NONE = 0,
	OE_KIND_PROCESS_EXEC = 1,
	OE_KIND_PROCESS_EXIT = 2,
	OE_KIND_FIRST_PROBE = 16,
};

/* First bytes of every record in oe_events. */
struct oe_event_header {
	__u16 kind;
	__u16 size_bytes;  /* of the whole record */
	__u16 truncated;   /* bit i: text i of this kind was cut */
	__u8 span_flags;   /* OE_SPAN_* */
	__u8 trace_flags;  /* W3C trace-flags */
	__u32 tgid;
	__u32 generation;
};
OE_STATIC_ASSERT(sizeof(struct oe_event_header) == 16, "record header is 16 bytes");

#define OE_SPAN_REMOTE_PARENT 0x1 /* parent_id came with the request */
#define OE_SPAN_ABANDONED 0x2     /* ended because an enclosing span ended or the goroutine moved on */

/* First bytes of every record that becomes a span. */
struct oe_span_event {
	struct oe_event_header header;
	__u8 trace_id[16];
	__u8 span_id[8];
	__u8 parent_id[8]; /* all zero: root */
	__u64 start_ns;    /* CLOCK_MONOTONIC */
	__u64 duration_ns;
	__u64 goid;
};
OE_STATIC_ASSERT(sizeof(struct oe_span_event) == 72, "span record is 72 bytes before its own fields");

/* ---- live spans -------------------------------------------------------------------------------------------- */

#define OE_RECORD_BYTES 1040 /* the largest record */

/* One live span; the slot of depth 0 also counts the goroutine's open spans. */
struct oe_live_span {
	__u64 goid; /* 0: free */
	__u32 tgid;
	__u32 generation;
	__u32 state;     /* odd: open; claimed by compare-and-swap only */
	__u32 overflows; /* spans in oe_span_more whose place this slot is */
	__u32 open_depth;
	__u16 depth;
	__u16 in_overflow;
	__u64 ready;     /* 1: the ids in the record are set, so that others may use them */
	__u64 frame;     /* oe_go_frame at the start; 0: not taken */
	__u64 user[3];   /* the Probe's own, never exported, zero at the start */
	__u64 sticky;    /* as `user`, but kept while the same goroutine opens spans of the same kind here */
	__u64 last_goid; /* who opened the slot last */
	__u32 last_kind;
	__u32 last_generation;
	__u8 record[OE_RECORD_BYTES];
};
OE_STATIC_ASSERT(sizeof(struct oe_live_span) == 96 + OE_RECORD_BYTES, "no hidden padding");

/* Key of the overflow hash. */
struct oe_span_key {
	__u64 goid;
	__u32 tgid;
	__u32 depth;
};

/* ---- threads and tasks: what spans of programs other than Go belong to --------------------------------------- */

/* A thread's own course of work, or a task's: one of those that are multiplexed over threads. */
struct oe_flow {
	__u64 id;         /* in place of a goid, never given out twice; 0: no span yet */
	__u32 generation; /* of the process: another one's flow is none */
	__u32 live;       /* 1: `ctx` is that of the innermost span, and it is sampled */
	struct oe_traces_ctx_v1 ctx;
};
OE_STATIC_ASSERT(sizeof(struct oe_flow) == 40, "no hidden padding");

/* Of one thread, in task storage. */
struct oe_thread {
	struct oe_flow own;
	__u64 task;       /* that the thread works on; 0: none */
	__u32 generation; /* of the process when the task was resumed */
	__u32 pad;
};
OE_STATIC_ASSERT(sizeof(struct oe_thread) == 56, "no hidden padding");

/* Key of oe_tasks. */
struct oe_task_key {
	__u64 task; /* what the Probe calls it, not 0: a number or an address of the runtime's own */
	__u32 tgid;
	__u32 pad;
};

/* A task that has spans, or that was begun by one. */
struct oe_task {
	struct oe_flow flow;
	struct oe_trace_ctx parent; /* the span in which the task began; flags only of a valid one */
	__u32 tid;                  /* of the thread that works on it; 0: suspended */
	__u32 has_parent;
};
OE_STATIC_ASSERT(sizeof(struct oe_task) == 80, "no hidden padding");

/* ---- counters: one slot each in the per-CPU array oe_stats -------------------------------------------------- */

enum oe_stat {
	OE_STAT_STACK_CHECK,       /* hits skipped by the flags filter: the function is about to run again */
	OE_STAT_OTHER_PROCESS,     /* hits in processes that are not targets */
	OE_STAT_RINGBUF_FULL,      /* records lost: oe_events had no room */
	OE_STAT_STORE_FULL,        /* spans lost: slot taken and overflow hash full */
	OE_STAT_STORE_OVERFLOW,    /* spans kept in the overflow hash */
	OE_STAT_DEPTH_EXCEEDED,    /* spans lost: more than OE_MAX_DEPTH live on one goroutine */
	OE_STAT_ORPHAN_END,        /* ends without a start */
	OE_STAT_ABANDONED,         /* spans closed by an enclosing end, or because their frame is gone */
	OE_STAT_RECLAIMED,         /* spans lost with the process that had them open */
	OE_STAT_DISCARDED,         /* spans given up by their Probe right after the start */
	OE_STAT_READ_FAULT,        /* reads of target memory that failed */
	OE_STAT_FACT_MISSING,      /* attributes given up because the executable lacks the fact */
	OE_STAT_PROCESSES_FULL,    /* processes lost: oe_processes full */
	OE_STAT_HEADERS_INCOMPLETE,/* header maps larger than what is walked */
	OE_STAT_BAD_TRACEPARENT,   /* malformed or duplicate traceparent, ignored */
	OE_STAT_THREADS_FULL,      /* spans lost: no memory for what is known of their thread, or oe_tasks full */
	OE_STAT_TASK_UNKNOWN,      /* spans not opened: not known which task the thread works on */
	OE_STAT_MAX,
};

#endif

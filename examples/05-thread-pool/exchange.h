/* SPDX-License-Identifier: Apache-2.0 */
/* Copyright The otel_ebpf Authors */
/* A request and its response, as the servers hold it and as the Probes read it from their memory. */
#ifndef EXCHANGE_H
#define EXCHANGE_H

struct exchange {
	const char *method;
	unsigned long long method_len;
	const char *path;
	unsigned long long path_len;
	const char *traceparent;
	unsigned long long traceparent_len; /* 0: the request has none */
	int status;                         /* of the response, set before it is sent */
	int socket;
};

#endif

// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// Opens the skeleton that otel_ebpf_add_bpf generated; needs no privilege.
#include "tiny.skel.h"

int main() {
    tiny_bpf* const skeleton = tiny_bpf::open();
    const bool good = skeleton != nullptr && skeleton->rodata->answer == 42;
    tiny_bpf::destroy(skeleton);
    return good ? 0 : 1;
}

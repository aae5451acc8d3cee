// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors

// Uses every type of structs.txt, so that the linker keeps their DWARF. It is built, never run.
package main

import (
	"context"
	"fmt"

	"github.com/redis/go-redis/v9"
)

//go:noinline
func options(address string) *redis.Options { return &redis.Options{Addr: address} }

func main() {
	ctx := context.Background()
	client := redis.NewClient(options("127.0.0.1:1"))
	fmt.Println(client.Get(ctx, "key").Result())
	_, err := client.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		return pipe.Set(ctx, "key", "value", 0).Err()
	})
	fmt.Println(err, client.Do(ctx, "ping").Err())
	cluster := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{"127.0.0.1:1"}})
	fmt.Println(cluster.Get(ctx, "key").Err())
}

// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors

// Uses every type of structs.txt, so that the linker keeps their DWARF. It is built, never run.
package main

import (
	"context"
	"fmt"

	"github.com/segmentio/kafka-go"
)

//go:noinline
func configuration(topic string) *kafka.ReaderConfig { return &kafka.ReaderConfig{Topic: topic} }

func main() {
	ctx := context.Background()
	writer := &kafka.Writer{Topic: "t"}
	header := kafka.Header{Key: "traceparent"}
	fmt.Println(writer.WriteMessages(ctx, kafka.Message{Headers: []kafka.Header{header}}))
	reader := kafka.NewReader(*configuration("t"))
	message, err := reader.FetchMessage(ctx)
	fmt.Println(message.Topic, err, reader.CommitMessages(ctx, message))
	if connection, err := kafka.DialLeader(ctx, "tcp", "127.0.0.1:1", "t", 0); err == nil {
		fmt.Println(connection.WriteMessages(message))
	}
}

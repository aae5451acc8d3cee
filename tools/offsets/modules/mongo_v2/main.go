// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors

// Uses every type of structs.txt, so that the linker keeps their DWARF. It is built, never run.
package main

import (
	"context"
	"fmt"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/event"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

func main() {
	ctx := context.Background()
	monitor := &event.CommandMonitor{
		Started: func(_ context.Context, started *event.CommandStartedEvent) { fmt.Println(started.CommandName) },
		Failed:  func(_ context.Context, failed *event.CommandFailedEvent) { fmt.Println(failed.CommandName) },
	}
	client, err := mongo.Connect(options.Client().SetMonitor(monitor))
	if err != nil {
		panic(err)
	}
	collection := client.Database("d").Collection("c")
	fmt.Println(collection.InsertOne(ctx, bson.D{}))
	if cursor, err := collection.Find(ctx, bson.D{}); err == nil {
		fmt.Println(cursor.Next(ctx), cursor.Err())
	}
}

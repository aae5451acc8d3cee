// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors

// Uses every type of structs.txt, so that the linker keeps their DWARF. It is built, never run.
package main

import (
	"context"
	"fmt"

	"github.com/IBM/sarama"
)

type handler struct{}

func (handler) Setup(sarama.ConsumerGroupSession) error   { return nil }
func (handler) Cleanup(sarama.ConsumerGroupSession) error { return nil }
func (handler) ConsumeClaim(session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	for message := range claim.Messages() {
		fmt.Println(claim.Topic(), message.Headers)
		session.MarkMessage(message, "")
	}
	return nil
}

func main() {
	addresses := []string{"127.0.0.1:1"}
	config := sarama.NewConfig()
	producer, err := sarama.NewSyncProducer(addresses, config)
	if err == nil {
		fmt.Println(producer.SendMessage(&sarama.ProducerMessage{Headers: []sarama.RecordHeader{{}}}))
	}
	if asynchronous, err := sarama.NewAsyncProducer(addresses, config); err == nil {
		asynchronous.Input() <- &sarama.ProducerMessage{}
		fmt.Println((<-asynchronous.Errors()).Err)
	}
	if consumer, err := sarama.NewConsumer(addresses, config); err == nil {
		if partition, err := consumer.ConsumePartition("t", 0, 0); err == nil {
			fmt.Println((<-partition.Messages()).Headers, (<-partition.Errors()).Err)
		}
	}
	if group, err := sarama.NewConsumerGroup(addresses, "g", config); err == nil {
		fmt.Println(group.Consume(context.Background(), []string{"t"}, handler{}))
	}
}

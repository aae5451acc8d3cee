// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors

// Uses every type of structs.txt, so that the linker keeps their DWARF. It is built, never run.
package main

import (
	"context"
	"fmt"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

func handle(_ any, stream grpc.ServerStream) error {
	caller, _ := peer.FromContext(stream.Context())
	return status.Error(5, fmt.Sprint(caller.Addr, stream.SendMsg(nil)))
}

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	server := grpc.NewServer(grpc.UnknownServiceHandler(handle))
	go server.Serve(listener)
	connection, err := grpc.Dial(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		panic(err)
	}
	ctx := context.Background()
	if stream, err := connection.NewStream(ctx, &grpc.StreamDesc{}, "/s/m"); err == nil {
		fmt.Println(stream.CloseSend(), stream.RecvMsg(nil))
	}
	err = connection.Invoke(ctx, "/s/m", nil, nil)
	fmt.Println(status.Code(err), status.Convert(err).Message())
}

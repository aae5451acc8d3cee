// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors

// Uses every type of structs.txt, so that the linker keeps their DWARF. It is built, never run.
package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	_ "github.com/jackc/pgx/v5/stdlib"
)

func main() {
	ctx := context.Background()
	connection, err := pgx.Connect(ctx, "postgres://127.0.0.1/d")
	var failure *pgconn.PgError
	if errors.As(err, &failure) {
		fmt.Println(failure.Code)
	}
	transaction, err := connection.Begin(ctx)
	if err == nil {
		fmt.Println(transaction.Exec(ctx, "select 1"))
	}
	rows, err := connection.Query(ctx, "select 1")
	fmt.Println(err, rows.CommandTag().RowsAffected())
	batch := &pgx.Batch{}
	batch.Queue("select 1", 1)
	fmt.Println(connection.SendBatch(ctx, batch).Close())
	if pool, err := pgxpool.New(ctx, "postgres://127.0.0.1/d"); err == nil {
		if pooled, err := pool.Acquire(ctx); err == nil {
			fmt.Println(pooled.Exec(ctx, "select 1"))
		}
	}
	if database, err := sql.Open("pgx", "postgres://127.0.0.1/d"); err == nil {
		fmt.Println(database.Ping())
	}
}

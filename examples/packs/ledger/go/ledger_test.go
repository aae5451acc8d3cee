// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors

package ledger

import (
	"errors"
	"testing"
)

func TestReceiptsFormAChain(t *testing.T) {
	book := Open("test", Options{})
	first, _ := book.Settle("alice", 100)
	second, _ := book.Settle("alice", 100)
	if first == second || len(first) != 16 {
		t.Fatalf("receipts %q and %q", first, second)
	}
}

func TestAmountsAboveTheLimitAreSettledInFull(t *testing.T) {
	book := Open("test", Options{Limit: 100})
	if _, err := book.Settle("alice", 999); err != nil || book.balances["alice"] != 999 {
		t.Fatalf("balance %d, error %v", book.balances["alice"], err)
	}
}

func TestRefusals(t *testing.T) {
	book := Open("test", Options{})
	book.Freeze("mallory")
	if _, err := book.Settle("mallory", 1); !errors.Is(err, ErrFrozen) {
		t.Fatal(err)
	}
	if _, err := book.Settle("", 1); !errors.Is(err, ErrNoAccount) {
		t.Fatal(err)
	}
}

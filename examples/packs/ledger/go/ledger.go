// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors

// Package ledger keeps books. Every settlement has a receipt, and receipts form a chain: each is made of the one before.
package ledger

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"time"
)

var (
	ErrNoAccount = errors.New("ledger: no account given")
	ErrFrozen    = errors.New("ledger: account is frozen")
)

// Options of a Book.
type Options struct {
	Limit   int64         // cents; larger amounts are settled in parts. 0: no limit
	Latency time.Duration // of the disk that the book is written to
}

// Book is one set of accounts. Its methods may be called by several goroutines.
type Book struct {
	options Options
	name    string

	mu       sync.Mutex
	balances map[string]int64
	frozen   map[string]bool
	last     [sha256.Size]byte
}

// Open returns an empty book.
func Open(name string, options Options) *Book {
	return &Book{name: name, options: options, balances: map[string]int64{}, frozen: map[string]bool{}}
}

// Freeze makes every later settlement of an account fail.
func (b *Book) Freeze(account string) {
	b.mu.Lock()
	b.frozen[account] = true
	b.mu.Unlock()
}

// Settle books an amount on an account and returns the receipt. What is above the limit is settled in two halves.
func (b *Book) Settle(account string, cents int64) (string, error) {
	if account == "" {
		return "", ErrNoAccount
	}
	if b.options.Limit > 0 && cents > b.options.Limit {
		if _, err := b.Settle(account, cents/2); err != nil {
			return "", err
		}
		receipt, err := b.Settle(account, cents-cents/2)
		if err != nil {
			return "", err
		}
		return receipt, nil
	}
	if err := b.book(account, cents); err != nil {
		return "", err
	}
	time.Sleep(b.options.Latency)
	return b.stamp(account, cents), nil
}

func (b *Book) book(account string, cents int64) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.frozen[account] {
		return fmt.Errorf("settle %d cents on %q: %w", cents, account, ErrFrozen)
	}
	b.balances[account] += cents
	return nil
}

// stamp makes the next link of the chain of receipts.
func (b *Book) stamp(account string, cents int64) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	link := binary.LittleEndian.AppendUint64(b.last[:], uint64(cents))
	b.last = sha256.Sum256(append(link, account...))
	return hex.EncodeToString(b.last[:8])
}

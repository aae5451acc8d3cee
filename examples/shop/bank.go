// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors

package main

import (
	"flag"
	"fmt"
	"net/http"
	"time"

	"example.com/ledger"
)

// In cents.
var prices = map[string]int64{
	"book":  1_900,
	"lamp":  4_900,
	"piano": 90_000,  // checked by hand: slow
	"sofa":  160_000, // above the limit of the bank's ledger
}

const checkedByHand = 75 * time.Millisecond

type bank struct{ book *ledger.Book }

func runBank(args []string) error {
	flags := flag.NewFlagSet("bank", flag.ExitOnError)
	listen := flags.String("listen", "127.0.0.1:0", "address to listen on")
	_ = flags.Parse(args)

	b := bank{ledger.Open("bank", ledger.Options{Limit: 100_000, Latency: 2 * time.Millisecond})}
	b.book.Freeze("mallory")
	mux := http.NewServeMux()
	mux.HandleFunc("GET /price/{item}", b.price)
	mux.HandleFunc("POST /pay", b.pay)
	return serve(*listen, mux)
}

func (b bank) price(w http.ResponseWriter, r *http.Request) {
	cents, known := prices[r.PathValue("item")]
	if !known {
		http.NotFound(w, r)
		return
	}
	fmt.Fprint(w, cents)
}

// pay settles the price of ?item= on ?account= and answers with the receipt.
func (b bank) pay(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	cents := prices[query.Get("item")]
	if query.Get("item") == "piano" {
		time.Sleep(checkedByHand)
	}
	receipt, err := b.book.Settle(query.Get("account"), cents)
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	fmt.Fprint(w, receipt)
}

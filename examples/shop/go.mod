module example.com/shop

go 1.22

require example.com/ledger v0.0.0

replace example.com/ledger => ../packs/ledger/go

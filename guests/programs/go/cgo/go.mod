module rekindle.invalid/cgo

go 1.19

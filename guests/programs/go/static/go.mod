module rekindle.invalid/static

go 1.19

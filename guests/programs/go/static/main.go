// Goroutines, channels, HTTP, files, processes, signals and the garbage collector, without cgo.
package main

import (
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

func check(err error) {
	if err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
}

func main() {
	runtime.GOMAXPROCS(4)
	var group sync.WaitGroup
	numbers, sums := make(chan int), make(chan int, 8)
	for range [8]int{} {
		group.Add(1)
		go func() {
			defer group.Done()
			sum := 0
			for n := range numbers {
				sum += n
			}
			sums <- sum
		}()
	}
	for n := 0; n < 100000; n++ {
		numbers <- n
	}
	close(numbers)
	group.Wait()
	close(sums)
	total := 0
	for sum := range sums {
		total += sum
	}
	fmt.Println(total)

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	go http.Serve(listener, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%d %x", len(body), sha256.Sum256(body))
	}))
	answers := make([]string, 40)
	for i := range answers {
		group.Add(1)
		go func(i int) {
			defer group.Done()
			answer, err := http.Post("http://"+listener.Addr().String(), "text/plain", strings.NewReader(strings.Repeat("x", 10000)))
			check(err)
			text, err := io.ReadAll(answer.Body)
			check(err)
			answer.Body.Close()
			answers[i] = string(text)
		}(i)
	}
	group.Wait()
	fmt.Println(answers[0][:20], answers[39] == answers[0])

	check(os.WriteFile("f", []byte("file"), 0o640))
	info, err := os.Stat("f")
	check(err)
	fmt.Println(info.Mode(), info.Size())
	_, err = os.Open("none")
	fmt.Println(err)
	out, err := exec.Command("sh", "-c", "cat; exit 4").CombinedOutput()
	fmt.Println(string(out), err)

	arrived := make(chan os.Signal, 1)
	signal.Notify(arrived, syscall.SIGUSR1)
	check(syscall.Kill(os.Getpid(), syscall.SIGUSR1))
	fmt.Println(<-arrived)
	select {
	case <-arrived:
	case <-time.After(10 * time.Millisecond):
		fmt.Println("time")
	}
	var kept [][]byte
	for i := 0; i < 2000; i++ {
		kept = append(kept, make([]byte, 64<<10))
		if len(kept) > 50 {
			kept = nil
		}
	}
	runtime.GC()
	func() {
		defer func() { fmt.Println("recovered:", recover()) }()
		var nothing *int
		fmt.Println(*nothing)
	}()
	os.Exit(20)
}

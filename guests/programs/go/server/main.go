// An HTTP server with state, timers and a goroutine that the requests go through.
package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

type job struct {
	body   string
	answer chan string
}

func main() {
	jobs := make(chan job)
	go func() {
		for count := 1; ; count++ {
			one := <-jobs
			<-time.After(time.Millisecond)
			one.answer <- fmt.Sprintf("[%d, %s]", count, one.body)
		}
	}()
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		one := job{string(body), make(chan string)}
		jobs <- one
		io.WriteString(w, <-one.answer)
	})
	listener, err := net.Listen("tcp", "127.0.0.1:8080")
	if err != nil {
		panic(err)
	}
	fmt.Println("listening")
	panic(http.Serve(listener, nil))
}

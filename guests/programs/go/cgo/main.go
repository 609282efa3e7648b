// A dynamic binary: calls into C, from C back into Go, on many threads; names resolved by the C library.
package main

/*
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#cgo LDFLAGS: -lm -lpthread

static void *twice(void *n) { *(long *)n *= 2; return n; }

static long in_thread(long n) {
    pthread_t thread;
    if (pthread_create(&thread, 0, twice, &n) != 0) return -1;
    pthread_join(thread, 0);
    return n;
}
*/
import "C"

import (
	"fmt"
	"os"
	"os/user"
	"sync"
	"unsafe"
)

func main() {
	fmt.Printf("%.6f\n", float64(C.sqrt(2)))
	text := C.CString("from C")
	fmt.Println(C.GoString(text), C.strlen(text))
	C.free(unsafe.Pointer(text))
	var group sync.WaitGroup
	results := make([]int, 50)
	for i := range results {
		group.Add(1)
		go func(i int) {
			defer group.Done()
			results[i] = int(C.in_thread(C.long(i)))
		}(i)
	}
	group.Wait()
	sum := 0
	for _, result := range results {
		sum += result
	}
	fmt.Println(sum)
	root, err := user.LookupId("0")
	fmt.Println(root.Username, err)
	os.Exit(21)
}

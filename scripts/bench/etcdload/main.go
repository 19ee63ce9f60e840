// Loads etcd with puts or linearizable gets of small values and prints the figures as JSON.
//
// Go, because a client in Python would be the bottleneck: gRPC costs it ten times what a request
// costs etcd. Each worker has one request in flight; workers share a few connections, as the
// benchmark tool of etcd does it.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand"
	"os"
	"sort"
	"strings"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

const rows = 1000

func main() {
	endpoints := flag.String("endpoints", "", "comma-separated")
	operation := flag.String("operation", "put", "put or get")
	workers := flag.Int("workers", 64, "requests in flight")
	connections := flag.Int("connections", 8, "shared by the workers")
	size := flag.Int("size", 100, "bytes of a value")
	warmUp := flag.Duration("warm-up", time.Second, "not measured")
	length := flag.Duration("length", 5*time.Second, "measured")
	flag.Parse()

	clients := make([]*clientv3.Client, min(*connections, *workers))
	for i := range clients {
		client, err := clientv3.New(clientv3.Config{
			Endpoints:   strings.Split(*endpoints, ","),
			DialTimeout: 5 * time.Second,
		})
		fail(err)
		defer client.Close()
		clients[i] = client
	}
	value := strings.Repeat("v", *size)
	if *operation == "get" {
		for row := range rows {
			_, err := clients[0].Put(context.Background(), key(row), value)
			fail(err)
		}
	}
	begin := time.Now().Add(*warmUp)
	end := begin.Add(*length)
	samples := make([][]float64, *workers)
	failed := make([]int, *workers)
	var group sync.WaitGroup
	for worker := range *workers {
		group.Add(1)
		go func() {
			defer group.Done()
			client := clients[worker%len(clients)]
			random := rand.New(rand.NewSource(int64(worker)))
			for number := 0; ; number++ {
				sent := time.Now()
				if !sent.Before(end) {
					return
				}
				ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
				var err error
				if *operation == "get" {
					_, err = client.Get(ctx, key(random.Intn(rows)))
				} else {
					_, err = client.Put(ctx, fmt.Sprintf("w/%d/%d", worker, number), value)
				}
				cancel()
				done := time.Now()
				if done.Before(begin) || done.After(end) {
					continue
				}
				if err != nil {
					failed[worker]++
					continue
				}
				samples[worker] = append(samples[worker], float64(done.Sub(sent).Microseconds())/1000)
			}
		}()
	}
	group.Wait()
	var all []float64
	failures := 0
	for worker := range samples {
		all = append(all, samples[worker]...)
		failures += failed[worker]
	}
	sort.Float64s(all)
	fail(json.NewEncoder(os.Stdout).Encode(map[string]any{
		"count": len(all), "seconds": length.Seconds(), "failed": failures,
		"p50_ms": rank(all, 0.5), "p99_ms": rank(all, 0.99),
	}))
}

func key(row int) string { return fmt.Sprintf("row/%04d", row) }

func rank(sorted []float64, part float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(len(sorted)-1, int(part*float64(len(sorted))))]
}

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "etcdload:", err)
		os.Exit(1)
	}
}

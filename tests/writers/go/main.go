// Writes lines "key TAB value", with "TAB name TAB content" for each header, with franz-go's
// defaults; prints each record's partition.
package main

import (
	"bufio"
	"context"
	"fmt"
	"log"
	"os"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"
)

func main() {
	client, err := kgo.NewClient(kgo.SeedBrokers(os.Args[1]), kgo.DefaultProduceTopic(os.Args[2]))
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	var records []*kgo.Record
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		parts := strings.Split(lines.Text(), "\t")
		record := kgo.KeyStringRecord(parts[0], parts[1])
		for at := 2; at < len(parts); at += 2 {
			header := kgo.RecordHeader{Key: parts[at], Value: []byte(parts[at+1])}
			record.Headers = append(record.Headers, header)
		}
		records = append(records, record)
	}
	if err := client.ProduceSync(context.Background(), records...).FirstErr(); err != nil {
		log.Fatal(err)
	}
	for _, record := range records {
		fmt.Println(record.Partition)
	}
}

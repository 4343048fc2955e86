// Command berth keeps virtual machines on the hosts and the storage that the labels in their disk images
// ask for. Everything is in package cli: main is wiring only.
package main

import (
	"context"
	"os"

	"github.com/berth-project/berth/internal/cli"
)

func main() {
	os.Exit(cli.Main(context.Background(), os.Args[1:], cli.Process()))
}

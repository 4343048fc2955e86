package cli

import (
	"time"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/label"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// transfer shows how far one long copy is: a bar where a person looks, a line now and then elsewhere.
type transfer interface {
	update(done, total label.Bytes)
	finish(ok bool)
}

func (a *app) newTransfer(title string) transfer {
	if !a.errTTY || a.env.Getenv("TERM") == "dumb" {
		return &transferLines{app: a, title: title, last: a.env.Now()}
	}
	return newTransferBar(title, mpb.WithOutput(a.env.Err))
}

// transferLines says nothing of what is done within progressEvery.
type transferLines struct {
	app   *app
	title string
	last  time.Time
}

func (l *transferLines) update(done, total label.Bytes) {
	if now := l.app.env.Now(); now.Sub(l.last) >= progressEvery {
		l.last = now
		l.app.note("%s: %s of %s", l.title, fleet.FormatBytes(done), fleet.FormatBytes(total))
	}
}

func (l *transferLines) finish(bool) {}

type transferBar struct {
	box *mpb.Progress
	bar *mpb.Bar
}

func newTransferBar(title string, opts ...mpb.ContainerOption) *transferBar {
	b := &transferBar{box: mpb.New(append(opts, mpb.WithWidth(30))...)}
	if r := []rune(title); len(r) > maxTitle {
		title = "..." + string(r[len(r)-maxTitle+3:])
	}
	b.bar = b.box.AddBar(0,
		mpb.PrependDecorators(decor.Name(cleanLine(title)+" ")),
		mpb.AppendDecorators(decor.OnComplete(decor.Percentage(decor.WC{W: 5}), " done")))
	b.bar.SetTotal(1, false)
	return b
}

func (b *transferBar) update(done, total label.Bytes) {
	if total > 0 {
		b.bar.SetTotal(int64(total), false)
		b.bar.SetCurrent(min(int64(done), int64(total)))
	}
}

// finish waits until the last state of the bar is drawn.
func (b *transferBar) finish(ok bool) {
	if ok {
		b.bar.SetTotal(-1, true)
	} else {
		b.bar.Abort(false)
	}
	b.box.Wait()
}

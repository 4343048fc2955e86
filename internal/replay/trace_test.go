package replay

import (
	"bytes"
	"compress/gzip"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/berth-project/berth/fleet"
)

func TestReadBothForms(t *testing.T) {
	t.Parallel()
	tr := read(t, "# a comment\n"+huawei+"\r\n0,4,16,0.0,194.9\n\n7,0.5,1.5,12.7,0\n")
	want := []Arrival{
		{ID: "vm-0", Life: 194, CPU: 4000, Memory: 16 * fleet.GiB, Disk: 20 * fleet.GiB},
		{ID: "vm-7", At: 12, CPU: 500, Memory: 1536 * fleet.MiB, Disk: 20 * fleet.GiB},
	}
	if !reflect.DeepEqual(tr.Arrivals, want) {
		t.Errorf("read %+v", tr.Arrivals)
	}
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, err := z.Write([]byte(story))
	if err = cmpErr(err, z.Close()); err != nil {
		t.Fatal(err)
	}
	back, err := Read(&packed)
	if err != nil || !reflect.DeepEqual(back, read(t, story)) {
		t.Errorf("packed it reads as %+v, %v", back, err)
	}
	if db := back.Arrivals[1]; db.ID != "vm-db" || db.Life != never || db.Level != "gold" {
		t.Errorf("vm-db is %+v", db)
	}
}

func cmpErr(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

func TestReadNamesTheLine(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ text, want string }{
		"empty":           {"", "there is no header"},
		"other header":    {"id,when\n", `line 1: header is "id,when"`},
		"fields":          {header + "\nvm-a,0,,1,1,1\n", "line 2: has 6 fields, expected 9"},
		"twice":           {header + "\nvm-a,0,,1,1,1,,,\nvm-a,1,,1,1,1,,,\n", `line 3: vm "vm-a" a second time`},
		"not sorted":      {header + "\nvm-a,9,,1,1,1,,,\nvm-b,8,,1,1,1,,,\n", `line 3: vm "vm-b" arrives at 8`},
		"no id":           {header + "\n,0,,1,1,1,,,\n", "line 2: name"},
		"blank in a name": {header + "\nvm a,0,,1,1,1,,,\n", `line 2: name "vm a"`},
		"negative time":   {header + "\nvm-a,-1,,1,1,1,,,\n", `at is "-1"`},
		"endless life":    {header + "\nvm-a,0,9999999999,1,1,1,,,\n", `life is "9999999999"`},
		"no cpu":          {header + "\nvm-a,0,,0,1,1,,,\n", `cpu is "0"`},
		"huge memory":     {header + "\nvm-a,0,,1,99999999999,1,,,\n", "memory_mib is"},
		"huge disk":       {header + "\nvm-a,0,,1,1,9223372036854775807,,,\n", "disk_gib is"},
		"group alone":     {header + "\nvm-a,0,,1,1,1,,app,\n", "names a group without a level"},
		"level, no disk":  {header + "\nvm-a,0,,1,1,0,gold,,\n", "names a level without a disk"},
		"NaN":             {huawei + "\n0,NaN,1,0,1\n", `cpu is "NaN"`},
		"infinite":        {huawei + "\n0,1,Inf,0,1\n", `mem is "Inf"`},
		"negative":        {huawei + "\n0,1,1,-1,1\n", `at is "-1"`},
		"no vmid":         {huawei + "\n,1,1,1,1\n", "vmid is empty"},
		"long line":       {header + "\n" + strings.Repeat("x", 2*MaxLine) + "\n", "line 2: is longer than 1024 bytes"},
		"broken gzip":     {"\x1f\x8b\x00", "read trace:"},
	} {
		if _, err := Read(strings.NewReader(c.text)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, expected %q in it", name, err, c.want)
		}
	}
}

// TestMadeTracesReadBack holds the generator to its form, its seed and its shape.
func TestMadeTracesReadBack(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		m := Made{
			Hosts: rapid.IntRange(1, 50).Draw(t, "hosts"), Days: rapid.IntRange(1, 3).Draw(t, "days"),
			Rate: rapid.IntRange(0, 60).Draw(t, "rate"), Seed: rapid.Uint64().Draw(t, "seed"),
		}
		tr, err := Generate(m)
		if err != nil {
			t.Fatal(err)
		}
		var a, b bytes.Buffer
		if err := tr.Write(&a); err != nil {
			t.Fatal(err)
		}
		back, err := Read(bytes.NewReader(a.Bytes()))
		if err != nil || !reflect.DeepEqual(back, tr) {
			t.Fatalf("reads back as another trace: %v", err)
		}
		again, err := Generate(m)
		if err != nil {
			t.Fatal(err)
		}
		if err := again.Write(&b); err != nil || !bytes.Equal(a.Bytes(), b.Bytes()) {
			t.Fatalf("the same seed gave another trace: %v", err)
		}
	})
}

func TestMadeTraceIsAsDescribed(t *testing.T) {
	t.Parallel()
	tr, err := Generate(Made{Hosts: 100, Days: 14, Seed: 4})
	if err != nil {
		t.Fatal(err)
	}
	if n := len(tr.Arrivals); n != 100*24*14 {
		t.Fatalf("%d arrivals", n)
	}
	night, noon, short, gold, grouped, life := 0, 0, 0, 0, 0, 0.0
	for _, a := range tr.Arrivals {
		switch h := int(a.At) / 3600 % 24; {
		case h < 5:
			night++
		case h >= 9 && h < 14:
			noon++
		}
		if a.Life < 2_400 {
			short++
		}
		if a.Level == "gold" {
			gold++
		}
		if a.Spread+a.Affinity != "" {
			grouped++
		}
		life += float64(a.Life) / 3600 / float64(len(tr.Arrivals))
	}
	n := len(tr.Arrivals)
	if night*4 > noon || short*100 < 48*n || short*100 > 52*n || gold*100 < 18*n || gold*100 > 22*n || grouped == 0 {
		t.Errorf("%d by night, %d by noon, %d short, %d gold, %d in groups of %d", night, noon, short, gold, grouped, n)
	}
	if life < 18 || life > 25 {
		t.Errorf("they live %.1f hours on average, expected about 21", life)
	}
	for _, m := range []Made{{Days: 1}, {Hosts: 1}, {Hosts: 1, Days: 1, Rate: -1}, {Hosts: 10_000, Days: 366}} {
		if _, err := Generate(m); err == nil {
			t.Errorf("%+v: no error", m)
		}
	}
}

// FuzzRead holds every trace that is read to its limits, and to being written and read again as it is.
func FuzzRead(f *testing.F) {
	f.Add([]byte(story))
	f.Add([]byte(huawei + "\n0,4,16,0.0,194.0\n1,4,16,2.0,498.0\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		tr, err := Read(bytes.NewReader(data))
		if err != nil {
			return
		}
		var out bytes.Buffer
		for i, a := range tr.Arrivals {
			if a.At < 0 || a.At > MaxSeconds || a.Life < never || a.Life > MaxSeconds || a.CPU < 0 || a.Memory < 0 || a.Disk < 0 {
				t.Fatalf("arrival %d is %+v", i, a)
			}
		}
		if err := tr.Write(&out); err != nil {
			t.Fatal(err)
		}
	})
}

package demo

import (
	"time"

	"github.com/berth-project/berth/internal/vcsim"
)

const gib = 1 << 30

// signer is who signed a label.
type signer int

const (
	nobody      signer = iota
	platformKey        // in the trust file, for any level
	appsKey            // in the trust file, up to silver
	foreignKey         // not in it
)

// guest is one VM and the label of its first disk.
type guest struct {
	vm        vcsim.VM
	level     string // empty: no label
	overrides map[string]string
	signer    signer
	issuer    string
}

// vcenter is the fleet before anything is planned: three clusters of two hosts, two datastores of each tier.
func vcenter(dir string) vcsim.Spec {
	nics := func(driver string, mbps, functions int) []vcsim.NIC {
		return []vcsim.NIC{
			{Device: "vmnic0", Driver: "ntg3", Mbps: 1000},
			{Device: "vmnic1", Driver: driver, Mbps: mbps, Functions: functions},
		}
	}
	host := func(name, cluster string, threads int, memory int64, n []vcsim.NIC, stores ...string) vcsim.Host {
		return vcsim.Host{Name: name, Cluster: cluster, Threads: threads, Memory: memory * gib, NICs: n, Datastores: stores}
	}
	store := func(name, tier string, capacity int64) vcsim.Datastore {
		return vcsim.Datastore{Name: name, Type: "VMFS", Capacity: capacity * gib, Tags: map[string]string{"tier": tier}}
	}
	all := []string{"nvme-1", "nvme-2", "ssd-1", "ssd-2", "hdd-1", "hdd-2"}
	spec := vcsim.Spec{
		Dir: dir, TLS: true, Tagging: true, CopyTime: time.Second,
		Clusters: []vcsim.Cluster{{Name: "gold"}, {Name: "silver"}, {Name: "bronze"}},
		Hosts: []vcsim.Host{
			host("gold-1", "gold", 32, 128, nics("i40en", 25000, 16), all...),
			host("gold-2", "gold", 32, 128, nics("i40en", 25000, 16), all...),
			host("silver-1", "silver", 16, 64, nics("ixgben", 10000, 0), all[2:]...),
			host("silver-2", "silver", 16, 64, nics("ixgben", 10000, 0), all[2:]...),
			host("bronze-1", "bronze", 16, 64, nics("igbn", 1000, 0), all[2:]...),
			host("bronze-2", "bronze", 16, 64, nics("igbn", 1000, 0), all[2:]...),
		},
		Datastores: []vcsim.Datastore{
			store("nvme-1", "nvme", 200), store("nvme-2", "nvme", 200),
			store("ssd-1", "ssd", 400), store("ssd-2", "ssd", 400),
			store("hdd-1", "hdd", 1000), store("hdd-2", "hdd", 1000),
		},
	}
	for _, g := range guests() {
		spec.VMs = append(spec.VMs, g.vm)
	}
	return spec
}

// guests are the VMs, each with what it is there to show.
func guests() []guest {
	vm := func(name, host string, cpus int, memory int64, disks ...vcsim.Disk) vcsim.VM {
		return vcsim.VM{Name: name, Host: host, CPUs: cpus, Memory: memory * gib, Running: true, Disks: disks}
	}
	disk := func(store string, size int64) vcsim.Disk { return vcsim.Disk{Datastore: store, Size: size * gib} }
	stopped := func(v vcsim.VM) vcsim.VM { v.Running = false; return v }
	suspended := func(v vcsim.VM) vcsim.VM { v.Running, v.Suspended = false, true; return v }
	const team = "platform team"
	return []guest{
		// Everything is wrong: a gold database with two disks on a bronze host and spinning disks.
		{vm: vm("vm-db", "bronze-1", 8, 32, disk("hdd-1", 40), disk("hdd-1", 20)), level: "gold", signer: platformKey, issuer: team},
		// The host is right, the storage is not; the override asks for a NIC with hardware functions.
		{vm: vm("vm-erp", "gold-1", 4, 16, disk("ssd-2", 60)), level: "gold", signer: platformKey, issuer: team,
			overrides: map[string]string{"nic.class": "3", "nic.queues": "4"}},
		// Two of one spread group on one host.
		{vm: vm("vm-web-1", "silver-1", 2, 8, disk("ssd-1", 20)), level: "silver", signer: platformKey, issuer: team,
			overrides: map[string]string{"spread.group": "web"}},
		{vm: vm("vm-web-2", "silver-1", 2, 8, disk("hdd-2", 20)), level: "silver", signer: platformKey, issuer: team,
			overrides: map[string]string{"spread.group": "web"}},
		// Asks for gold with a key that may grant silver at most.
		{vm: vm("vm-mail", "bronze-2", 4, 16, disk("hdd-1", 80)), level: "gold", signer: appsKey, issuer: "mail team",
			overrides: map[string]string{"priority": "700"}},
		// Asks for gold, signed by a key that nobody here knows: clamped to what an unsigned label may ask for.
		{vm: vm("vm-shop", "bronze-1", 4, 8, disk("hdd-2", 30)), level: "gold", signer: foreignKey, issuer: "a former supplier"},
		// Asks for gold without any signature: clamped too.
		{vm: vm("vm-cache", "silver-2", 2, 8, disk("ssd-2", 10)), level: "gold"},
		// Needs a host of security class strict, and no host is: it cannot be helped, and the plan says so.
		{vm: vm("vm-vault", "gold-2", 2, 4, disk("nvme-2", 10)), level: "gold", signer: platformKey, issuer: team,
			overrides: map[string]string{"security.class": "strict"}},
		// Far better off than its label asks for.
		{vm: vm("vm-build", "gold-2", 8, 16, disk("nvme-1", 50)), level: "bronze", signer: platformKey, issuer: team},
		// No label at all, on gold: gets what the catalogue says of the unlabelled.
		{vm: vm("vm-ci", "gold-1", 4, 8, disk("nvme-1", 40))},
		// No label, and right where it is.
		{vm: stopped(vm("vm-archive", "bronze-2", 1, 2, disk("hdd-2", 200)))},
		// Stopped, and so moved without risk.
		{vm: stopped(vm("vm-report", "bronze-1", 2, 4, disk("hdd-1", 15))), level: "silver"},
		// Suspended: its memory lies on disk, it is left alone.
		{vm: suspended(vm("vm-lab", "silver-2", 1, 2, disk("hdd-1", 10)))},
	}
}

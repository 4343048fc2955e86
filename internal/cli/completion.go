package cli

import (
	"slices"
	"strings"

	"github.com/berth-project/berth/label"
	"github.com/berth-project/berth/policy"
	"github.com/spf13/cobra"
)

// completer gives what can follow what was typed of a flag's value.
type completer = cobra.CompletionFunc

// completeFlags gives every command the completion of its flags, by their names: a name means the same everywhere. A flag that its
// command completes on its own keeps that.
func (a *app) completeFlags(cmd *cobra.Command) {
	for name, complete := range map[string]completer{
		"level":    a.completeLevel,
		"override": a.completeOverride,
		"format":   words(formatNames()...),
		"key":      extensions("key", "pem"),
		"trust":    extensions("yaml", "yml"),
		"policy":   extensions("yaml", "yml"),
		"config":   extensions("yaml", "yml"),
		"from":     completeFrom,
		"key-id":   a.completeKeyID,
	} {
		if f := cmd.Flags().Lookup(name); f == nil {
			continue
		}
		if _, own := cmd.GetFlagCompletionFunc(name); !own {
			_ = cmd.RegisterFlagCompletionFunc(name, complete) // fails for a flag that is not there alone
		}
	}
	for _, c := range cmd.Commands() {
		a.completeFlags(c)
	}
}

// words completes one of a few words, or the last of several with commas between them.
func words(all ...string) completer {
	return func(_ *cobra.Command, _ []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
		before, last := splitList(typed)
		var out []cobra.Completion
		for _, w := range all {
			if strings.HasPrefix(w, last) {
				out = append(out, before+w)
			}
		}
		return out, cobra.ShellCompDirectiveNoFileComp
	}
}

func splitList(typed string) (before, last string) {
	i := strings.LastIndexByte(typed, ',') + 1
	return typed[:i], typed[i:]
}

func extensions(ext ...string) completer {
	return func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
		return ext, cobra.ShellCompDirectiveFilterFileExt
	}
}

// completeFrom: a table for label set, a snapshot everywhere else.
func completeFrom(cmd *cobra.Command, _ []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if cmd.Name() == "set" {
		return []cobra.Completion{"csv"}, cobra.ShellCompDirectiveFilterFileExt
	}
	return []cobra.Completion{"json"}, cobra.ShellCompDirectiveFilterFileExt
}

// catalogueInUse is the policy that the command line so far, the configuration or the program has. What cannot be read
// completes nothing: a message would end up in the middle of what is typed.
func (a *app) catalogueInUse(cmd *cobra.Command) *policy.Catalogue {
	value := func(name string) string {
		if f := cmd.Flags().Lookup(name); f != nil {
			return f.Value.String()
		}
		return ""
	}
	var c *config
	if a.findConfig(value("config")) != "" {
		var err error
		if c, err = a.loadConfig(value("config")); err != nil {
			return nil
		}
	}
	if value("policy") == "-" {
		return nil // standard input is the shell's
	}
	cat, err := a.loadCatalogue(value("policy"), c)
	if err != nil {
		return nil
	}
	return cat
}

func (a *app) completeLevel(cmd *cobra.Command, args []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
	cat := a.catalogueInUse(cmd)
	if cat == nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for _, l := range cat.Levels() {
		names = append(names, l.Name)
	}
	if cmd.Flags().Lookup("level").Value.Type() != "stringSlice" && strings.Contains(typed, ",") {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return words(names...)(cmd, args, typed)
}

// completeOverride completes the key, and the value where the policy has a list of them.
func (a *app) completeOverride(cmd *cobra.Command, _ []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
	var all []string
	directive := cobra.ShellCompDirectiveNoFileComp
	if key, _, ok := strings.Cut(typed, "="); ok {
		for _, v := range valuesOf(a.catalogueInUse(cmd), key) {
			all = append(all, key+"="+v)
		}
	} else {
		directive |= cobra.ShellCompDirectiveNoSpace
		for _, k := range label.OverrideKeys() {
			all = append(all, k+"=")
		}
	}
	return slices.DeleteFunc(all, func(s string) bool { return !strings.HasPrefix(s, typed) }), directive
}

func valuesOf(cat *policy.Catalogue, key string) []string {
	switch {
	case cat == nil:
		return nil
	case key == "server.tier":
		return cat.ServerTiers()
	case key == "storage.tier":
		return cat.PoolTiers()
	case key == "security.class":
		return cat.SecurityClasses()
	default:
		return nil
	}
}

// completeKeyID offers the ids of the trust file's keys.
func (a *app) completeKeyID(cmd *cobra.Command, args []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
	ids := []string{keyNone}
	if trust, err := a.verifyTrust("", ""); err == nil && trust != nil {
		for _, k := range trust.Keys() {
			ids = append(ids, k.Key.ID().String()+"\t"+cleanLine(k.Issuer))
		}
	}
	return words(ids...)(cmd, args, typed)
}

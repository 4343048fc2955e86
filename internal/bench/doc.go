// Package bench measures the planner on public data: each file adapts the input of one benchmark to the planner's own
// model, runs the very code that plans a fleet, and reports the figures beside the published ones. Adapters hold no
// search and no tuning; what they read is data of others, bounded and refused with the line at fault. Clocks and
// goroutines live here, since the planner itself is pure: several seeds run side by side, one a core, and the best answer
// counts.
package bench

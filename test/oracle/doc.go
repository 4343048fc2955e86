// Package oracle holds the planner's search against exact solvers. Small random problems, with every kind of rule and
// cost, are written as mixed integer programs and solved to proven optimality by CBC or GLPK, which share no code with
// this project; the tests compare what Evaluate, Verify, Bound and the search say with that. Without a solver (see deps)
// they skip and say so.
package oracle

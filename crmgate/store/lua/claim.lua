-- Take the lease on an operation that may be attempted now.
-- Arguments:
--   id     operation
--   claim  the lease
--   to     provider
-- Answers as `take` does (take.lua).
despite_full()
return take(a.id, a.claim)

-- moongate.base.clock owns the time that is compared with itself: it only goes forward, and is the
-- same in all workers. What is shown to people is moongate.now's.

local has_core, core = pcall(require, "moongate.core")

---@type fun(): number seconds since some moment, with fractions
return has_core and rawget(core, "clock") or os.clock

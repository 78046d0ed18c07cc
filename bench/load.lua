-- Sends the requests of the file that is the first argument, as they are, over and over: they are told
-- apart by a byte 0. Further arguments are entity tags, one for each thread, each with one connection
-- and a file of its own (its number stands behind the name): @etag@ in a request is the last tag answered.

local requests, sent, etag = {}, 0, nil
local threads = 0

function setup(thread)
   threads = threads + 1
   thread:set("number", threads)
end

function init(arguments)
   etag = arguments[number + 1]
   local file = assert(io.open(arguments[1] .. (etag and number or ""), "rb"))
   for text in file:read("*a"):gmatch("%Z+") do
      requests[#requests + 1] = text
   end
   file:close()
   if etag then
      function response(_, headers)
         etag = headers["etag"] or headers["ETag"] or headers["Etag"]
      end
   end
end

function request()
   sent = sent + 1
   local text = requests[sent % #requests + 1]
   return etag and text:gsub("@etag@", etag) or text
end

-- At the end one line of JSON says how it went.
function done(summary, latency)
   local errors = summary.errors
   io.write(string.format(
      '\n{"rate": %f, "p50": %f, "p99": %f, "errors": %d}\n',
      summary.requests / summary.duration * 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
      errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end

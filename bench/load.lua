-- Sends the requests of the file in the first argument, unchanged and repeatedly. A zero byte separates them.
-- Further arguments are entity tags, one for each thread. Such a thread reads a file of its own, whose name
-- ends with the number of the thread, and replaces @etag@ in a request by the last tag that it received.

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
      function response(status, headers)
         if status == 200 then
            etag = headers["etag"] or headers["ETag"] or headers["Etag"]
         end
      end
   end
end

function request()
   sent = sent + 1
   local text = requests[sent % #requests + 1]
   return etag and text:gsub("@etag@", etag) or text
end

-- Prints the result as a line of JSON.
function done(summary, latency)
   local errors = summary.errors
   io.write(string.format(
      '\n{"rate": %f, "p50": %f, "p99": %f, "errors": %d}\n',
      summary.requests / summary.duration * 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
      errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end

-- Sends every study to the node once nothing new came for it (StableAge in orthanc.json).
--
-- Series of reports stay here: a report that the node sends back makes the study stable once more, and sending it on would
-- go round in circles. The transfer is a job of its own, because a script that waits holds up every other script. A job
-- that failed stays in the list: POST /jobs/ID/resubmit tries it again. The node stores an instance that it knows only once.

NODE = 'dicom-node'

function OnStableStudy(studyId, tags, metadata)
  local images = {}
  for _, series in ipairs(ParseJson(RestApiGet('/studies/' .. studyId .. '/series'))) do
    if series['MainDicomTags']['Modality'] ~= 'SR' then
      table.insert(images, series['ID'])
    end
  end
  if #images > 0 then
    RestApiPost('/modalities/' .. NODE .. '/store', DumpJson({Resources = images, Asynchronous = true}, true))
  end
end

function OnJobFailure(jobId)
  print('Job ' .. jobId .. ' failed. If it was for ' .. NODE .. ', try again with POST /jobs/' .. jobId .. '/resubmit')
end

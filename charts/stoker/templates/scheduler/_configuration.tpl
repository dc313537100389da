{{- define "stoker.schedulerConfiguration" -}}
apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
clientConnection:
  qps: {{ include "stoker.text" .Values.scheduler.kubeScheduler.qps }}
  burst: {{ include "stoker.text" .Values.scheduler.kubeScheduler.burst }}
leaderElection:
  leaderElect: true
  resourceLock: leases
  resourceName: {{ include "stoker.fullname" . }}-scheduler
  resourceNamespace: {{ .Release.Namespace }}
# With fewer the warm node may not be among those that are scored.
percentageOfNodesToScore: 100
profiles:
  - schedulerName: {{ .Values.scheduler.schedulerName }}
extenders:
  # The container beside this one, on the loopback address of their pod.
  - urlPrefix: http://127.0.0.1:8888
    filterVerb: filter
    prioritizeVerb: prioritize
    weight: 10
    # Names of nodes are sent and not whole nodes.
    nodeCacheCapable: true
    httpTimeout: {{ .Values.scheduler.extenderTimeout }}
    ignorable: {{ .Values.scheduler.ignorable }}
{{- end -}}

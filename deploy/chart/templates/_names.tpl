{{- /* Labels of an object; call with (list $ "component"). */ -}}
{{- define "tidegate.labels" -}}
{{- $root := index . 0 -}}
{{ include "tidegate.selector" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
{{- end }}

{{- /* Labels that never change, by which workloads and generated Services select pods. */ -}}
{{- define "tidegate.selector" -}}
app.kubernetes.io/name: tidegate
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{- /* An image's full name; call with (list $ .Values.images.controller). */ -}}
{{- define "tidegate.image" -}}
{{- $root := index . 0 -}}
{{- $image := index . 1 -}}
{{- if contains "://" $root.Values.images.registry }}
{{- fail (printf "images.registry: %s has a scheme, which names of images have not; give host and path alone, such as registry.example/team" $root.Values.images.registry) }}
{{- end }}
{{- with $root.Values.images.registry }}{{ . | trimSuffix "/" }}/{{ end -}}
{{ $image.repository }}
{{- if $image.digest }}@{{ $image.digest }}{{ else }}:{{ $image.tag | default $root.Chart.AppVersion }}{{ end }}
{{- end }}

{{- /* Where the pods of one workload may run, and what they may displace. */ -}}
{{- define "tidegate.placing" -}}
{{- with .priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations: {{- toYaml . | nindent 0 }}
{{- end }}
{{- with .affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "tidegate.pullSecrets" -}}
{{- with .Values.images.pullSecrets }}
imagePullSecrets:
{{- range . }}
- name: {{ . }}
{{- end }}
{{- end }}
{{- end }}

{{- /* What every container is denied. */ -}}
{{- define "tidegate.confined" -}}
allowPrivilegeEscalation: false
privileged: false
readOnlyRootFilesystem: true
{{- end }}

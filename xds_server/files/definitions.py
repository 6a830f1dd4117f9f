"""The fields of the served kinds, as OpenAPI: written by tests/unit/files/schema_source.py."""
# ruff: noqa: E501  # a pattern is one line, however long

from __future__ import annotations

from typing import Any, Final

DEFINITIONS: Final[dict[str, dict[str, Any]]] = {
    "Service": {"$ref": "V1Service"},
    "V1Service": {
        "type": "object",
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"$ref": "V1ObjectMeta"},
            "spec": {"$ref": "V1ServiceSpec"},
            "status": {},
        },
    },
    "V1ObjectMeta": {
        "type": "object",
        "properties": {
            "annotations": {"type": "object", "additionalProperties": {"type": "string"}},
            "creationTimestamp": {"type": "string"},
            "deletionGracePeriodSeconds": {"type": "integer"},
            "deletionTimestamp": {"type": "string"},
            "finalizers": {"type": "array", "items": {"type": "string"}},
            "generateName": {"type": "string"},
            "generation": {"type": "integer"},
            "labels": {"type": "object", "additionalProperties": {"type": "string"}},
            "managedFields": {},
            "name": {"type": "string"},
            "namespace": {"type": "string"},
            "ownerReferences": {"type": "array", "items": {"$ref": "V1OwnerReference"}},
            "resourceVersion": {"type": "string"},
            "selfLink": {"type": "string"},
            "uid": {"type": "string"},
        },
    },
    "V1OwnerReference": {
        "type": "object",
        "properties": {
            "apiVersion": {"type": "string"},
            "blockOwnerDeletion": {"type": "boolean"},
            "controller": {"type": "boolean"},
            "kind": {"type": "string"},
            "name": {"type": "string"},
            "uid": {"type": "string"},
        },
    },
    "V1ServiceSpec": {
        "type": "object",
        "properties": {
            "allocateLoadBalancerNodePorts": {"type": "boolean"},
            "clusterIP": {"type": "string"},
            "clusterIPs": {"type": "array", "items": {"type": "string"}},
            "externalIPs": {"type": "array", "items": {"type": "string"}},
            "externalName": {"type": "string"},
            "externalTrafficPolicy": {"type": "string"},
            "healthCheckNodePort": {"type": "integer"},
            "internalTrafficPolicy": {"type": "string"},
            "ipFamilies": {"type": "array", "items": {"type": "string"}},
            "ipFamilyPolicy": {"type": "string"},
            "loadBalancerClass": {"type": "string"},
            "loadBalancerIP": {"type": "string"},
            "loadBalancerSourceRanges": {"type": "array", "items": {"type": "string"}},
            "ports": {"type": "array", "items": {"$ref": "V1ServicePort"}},
            "publishNotReadyAddresses": {"type": "boolean"},
            "selector": {"type": "object", "additionalProperties": {"type": "string"}},
            "sessionAffinity": {"type": "string"},
            "sessionAffinityConfig": {"$ref": "V1SessionAffinityConfig"},
            "trafficDistribution": {"type": "string"},
            "type": {"type": "string"},
        },
    },
    "V1ServicePort": {
        "type": "object",
        "properties": {
            "appProtocol": {"type": "string"},
            "name": {"type": "string"},
            "nodePort": {"type": "integer"},
            "port": {"type": "integer"},
            "protocol": {"type": "string"},
            "targetPort": {},
        },
    },
    "V1SessionAffinityConfig": {"type": "object", "properties": {"clientIP": {"$ref": "V1ClientIPConfig"}}},
    "V1ClientIPConfig": {"type": "object", "properties": {"timeoutSeconds": {"type": "integer"}}},
    "Secret": {"$ref": "V1Secret"},
    "V1Secret": {
        "type": "object",
        "properties": {
            "apiVersion": {"type": "string"},
            "data": {"type": "object", "additionalProperties": {"type": "string"}},
            "immutable": {"type": "boolean"},
            "kind": {"type": "string"},
            "metadata": {"$ref": "V1ObjectMeta"},
            "stringData": {"type": "object", "additionalProperties": {"type": "string"}},
            "type": {"type": "string"},
        },
    },
    "ConfigMap": {"$ref": "V1ConfigMap"},
    "V1ConfigMap": {
        "type": "object",
        "properties": {
            "apiVersion": {"type": "string"},
            "binaryData": {"type": "object", "additionalProperties": {"type": "string"}},
            "data": {"type": "object", "additionalProperties": {"type": "string"}},
            "immutable": {"type": "boolean"},
            "kind": {"type": "string"},
            "metadata": {"$ref": "V1ObjectMeta"},
        },
    },
    "Namespace": {"$ref": "V1Namespace"},
    "V1Namespace": {
        "type": "object",
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"$ref": "V1ObjectMeta"},
            "spec": {"$ref": "V1NamespaceSpec"},
            "status": {},
        },
    },
    "V1NamespaceSpec": {"type": "object", "properties": {"finalizers": {"type": "array", "items": {"type": "string"}}}},
    "Pod": {"$ref": "V1Pod"},
    "V1Pod": {
        "type": "object",
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"$ref": "V1ObjectMeta"},
            "spec": {"$ref": "V1PodSpec"},
            "status": {},
        },
    },
    "V1PodSpec": {
        "type": "object",
        "properties": {
            "activeDeadlineSeconds": {},
            "affinity": {},
            "automountServiceAccountToken": {},
            "containers": {},
            "dnsConfig": {},
            "dnsPolicy": {},
            "enableServiceLinks": {},
            "ephemeralContainers": {},
            "hostAliases": {},
            "hostIPC": {},
            "hostNetwork": {"type": "boolean"},
            "hostPID": {},
            "hostUsers": {},
            "hostname": {},
            "hostnameOverride": {},
            "imagePullSecrets": {},
            "initContainers": {},
            "nodeName": {"type": "string"},
            "nodeSelector": {},
            "os": {},
            "overhead": {},
            "preemptionPolicy": {},
            "priority": {},
            "priorityClassName": {},
            "readinessGates": {},
            "resourceClaims": {},
            "resources": {},
            "restartPolicy": {},
            "runtimeClassName": {},
            "schedulerName": {},
            "schedulingGates": {},
            "schedulingGroup": {},
            "securityContext": {},
            "serviceAccount": {},
            "serviceAccountName": {},
            "setHostnameAsFQDN": {},
            "shareProcessNamespace": {},
            "subdomain": {},
            "terminationGracePeriodSeconds": {},
            "tolerations": {},
            "topologySpreadConstraints": {},
            "volumes": {},
        },
    },
    "Node": {"$ref": "V1Node"},
    "V1Node": {
        "type": "object",
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"$ref": "V1ObjectMeta"},
            "spec": {"$ref": "V1NodeSpec"},
            "status": {},
        },
    },
    "V1NodeSpec": {
        "type": "object",
        "properties": {
            "configSource": {},
            "externalID": {},
            "podCIDR": {},
            "podCIDRs": {},
            "providerID": {},
            "taints": {},
            "unschedulable": {},
        },
    },
    "EndpointSlice": {"$ref": "V1EndpointSlice"},
    "V1EndpointSlice": {
        "type": "object",
        "properties": {
            "addressType": {"type": "string"},
            "apiVersion": {"type": "string"},
            "endpoints": {"type": "array", "items": {"$ref": "V1Endpoint"}},
            "kind": {"type": "string"},
            "metadata": {"$ref": "V1ObjectMeta"},
            "ports": {"type": "array", "items": {"$ref": "DiscoveryV1EndpointPort"}},
        },
    },
    "V1Endpoint": {
        "type": "object",
        "properties": {
            "addresses": {"type": "array", "items": {"type": "string"}},
            "conditions": {"$ref": "V1EndpointConditions"},
            "deprecatedTopology": {"type": "object", "additionalProperties": {"type": "string"}},
            "hints": {"$ref": "V1EndpointHints"},
            "hostname": {"type": "string"},
            "nodeName": {"type": "string"},
            "targetRef": {"$ref": "V1ObjectReference"},
            "zone": {"type": "string"},
        },
    },
    "V1EndpointConditions": {
        "type": "object",
        "properties": {
            "ready": {"type": "boolean"},
            "serving": {"type": "boolean"},
            "terminating": {"type": "boolean"},
        },
    },
    "V1EndpointHints": {
        "type": "object",
        "properties": {
            "forNodes": {"type": "array", "items": {"$ref": "V1ForNode"}},
            "forZones": {"type": "array", "items": {"$ref": "V1ForZone"}},
        },
    },
    "V1ForNode": {"type": "object", "properties": {"name": {"type": "string"}}},
    "V1ForZone": {"type": "object", "properties": {"name": {"type": "string"}}},
    "V1ObjectReference": {
        "type": "object",
        "properties": {
            "apiVersion": {"type": "string"},
            "fieldPath": {"type": "string"},
            "kind": {"type": "string"},
            "name": {"type": "string"},
            "namespace": {"type": "string"},
            "resourceVersion": {"type": "string"},
            "uid": {"type": "string"},
        },
    },
    "DiscoveryV1EndpointPort": {
        "type": "object",
        "properties": {
            "appProtocol": {"type": "string"},
            "name": {"type": "string"},
            "port": {"type": "integer"},
            "protocol": {"type": "string"},
        },
    },
    "Ingress": {"$ref": "V1Ingress"},
    "V1Ingress": {
        "type": "object",
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"$ref": "V1ObjectMeta"},
            "spec": {"$ref": "V1IngressSpec"},
            "status": {},
        },
    },
    "V1IngressSpec": {
        "type": "object",
        "properties": {
            "defaultBackend": {"$ref": "V1IngressBackend"},
            "ingressClassName": {"type": "string"},
            "rules": {"type": "array", "items": {"$ref": "V1IngressRule"}},
            "tls": {"type": "array", "items": {"$ref": "V1IngressTLS"}},
        },
    },
    "V1IngressBackend": {
        "type": "object",
        "properties": {
            "resource": {"$ref": "V1TypedLocalObjectReference"},
            "service": {"$ref": "V1IngressServiceBackend"},
        },
    },
    "V1TypedLocalObjectReference": {
        "type": "object",
        "properties": {"apiGroup": {"type": "string"}, "kind": {"type": "string"}, "name": {"type": "string"}},
    },
    "V1IngressServiceBackend": {
        "type": "object",
        "properties": {"name": {"type": "string"}, "port": {"$ref": "V1ServiceBackendPort"}},
    },
    "V1ServiceBackendPort": {
        "type": "object",
        "properties": {"name": {"type": "string"}, "number": {"type": "integer"}},
    },
    "V1IngressRule": {
        "type": "object",
        "properties": {"host": {"type": "string"}, "http": {"$ref": "V1HTTPIngressRuleValue"}},
    },
    "V1HTTPIngressRuleValue": {
        "type": "object",
        "properties": {"paths": {"type": "array", "items": {"$ref": "V1HTTPIngressPath"}}},
    },
    "V1HTTPIngressPath": {
        "type": "object",
        "properties": {
            "backend": {"$ref": "V1IngressBackend"},
            "path": {"type": "string"},
            "pathType": {"type": "string"},
        },
    },
    "V1IngressTLS": {
        "type": "object",
        "properties": {"hosts": {"type": "array", "items": {"type": "string"}}, "secretName": {"type": "string"}},
    },
    "IngressClass": {"$ref": "V1IngressClass"},
    "V1IngressClass": {
        "type": "object",
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"$ref": "V1ObjectMeta"},
            "spec": {"$ref": "V1IngressClassSpec"},
        },
    },
    "V1IngressClassSpec": {
        "type": "object",
        "properties": {"controller": {"type": "string"}, "parameters": {"$ref": "V1IngressClassParametersReference"}},
    },
    "V1IngressClassParametersReference": {
        "type": "object",
        "properties": {
            "apiGroup": {"type": "string"},
            "kind": {"type": "string"},
            "name": {"type": "string"},
            "namespace": {"type": "string"},
            "scope": {"type": "string"},
        },
    },
    "GatewayClass.spec.parametersRef": {
        "type": "object",
        "required": ["group", "kind", "name"],
        "properties": {
            "group": {
                "type": "string",
                "pattern": "^$|^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$",
                "maxLength": 253,
            },
            "kind": {
                "type": "string",
                "pattern": "^[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?$",
                "minLength": 1,
                "maxLength": 63,
            },
            "name": {"type": "string", "minLength": 1, "maxLength": 253},
            "namespace": {
                "type": "string",
                "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$",
                "minLength": 1,
                "maxLength": 63,
            },
        },
    },
    "GatewayClass.spec": {
        "type": "object",
        "required": ["controllerName"],
        "properties": {
            "controllerName": {
                "type": "string",
                "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*\\/[A-Za-z0-9\\/\\-._~%!$&'()*+,;=:]+$",
                "minLength": 1,
                "maxLength": 253,
            },
            "description": {"type": "string", "maxLength": 64},
            "parametersRef": {"$ref": "GatewayClass.spec.parametersRef"},
        },
    },
    "GatewayClass": {
        "type": "object",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"$ref": "V1ObjectMeta"},
            "spec": {"$ref": "GatewayClass.spec"},
            "status": {},
        },
    },
    "Gateway.spec.addresses": {
        "type": "object",
        "properties": {
            "routability": {"type": "string", "maxLength": 253},
            "type": {
                "type": "string",
                "pattern": "^Hostname|IPAddress|NamedAddress|[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*\\/[A-Za-z0-9\\/\\-._~%!$&'()*+,;=:]+$",
                "minLength": 1,
                "maxLength": 253,
            },
            "value": {"type": "string", "maxLength": 253},
        },
    },
    "Gateway.spec.allowedListeners.namespaces.selector.matchExpressions": {
        "type": "object",
        "required": ["key", "operator"],
        "properties": {
            "key": {"type": "string"},
            "operator": {"type": "string"},
            "values": {"type": "array", "items": {"type": "string"}},
        },
    },
    "Gateway.spec.allowedListeners.namespaces.selector": {
        "type": "object",
        "properties": {
            "matchExpressions": {
                "type": "array",
                "items": {"$ref": "Gateway.spec.allowedListeners.namespaces.selector.matchExpressions"},
            },
            "matchLabels": {"type": "object", "additionalProperties": {"type": "string"}},
        },
    },
    "Gateway.spec.allowedListeners.namespaces": {
        "type": "object",
        "properties": {
            "from": {"type": "string", "enum": ["All", "Selector", "Same", "None"]},
            "selector": {"$ref": "Gateway.spec.allowedListeners.namespaces.selector"},
        },
    },
    "Gateway.spec.allowedListeners": {
        "type": "object",
        "properties": {"namespaces": {"$ref": "Gateway.spec.allowedListeners.namespaces"}},
    },
    "Gateway.spec.infrastructure.parametersRef": {
        "type": "object",
        "required": ["group", "kind", "name"],
        "properties": {
            "group": {
                "type": "string",
                "pattern": "^$|^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$",
                "maxLength": 253,
            },
            "kind": {
                "type": "string",
                "pattern": "^[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?$",
                "minLength": 1,
                "maxLength": 63,
            },
            "name": {"type": "string", "minLength": 1, "maxLength": 253},
        },
    },
    "Gateway.spec.infrastructure": {
        "type": "object",
        "properties": {
            "annotations": {
                "type": "object",
                "maxProperties": 16,
                "additionalProperties": {"type": "string", "minLength": 0, "maxLength": 4096},
            },
            "labels": {
                "type": "object",
                "maxProperties": 8,
                "additionalProperties": {
                    "type": "string",
                    "pattern": "^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$",
                    "minLength": 0,
                    "maxLength": 63,
                },
            },
            "parametersRef": {"$ref": "Gateway.spec.infrastructure.parametersRef"},
        },
    },
    "Gateway.spec.listeners.allowedRoutes.kinds": {
        "type": "object",
        "required": ["kind"],
        "properties": {
            "group": {
                "type": "string",
                "pattern": "^$|^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$",
                "maxLength": 253,
            },
            "kind": {
                "type": "string",
                "pattern": "^[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?$",
                "minLength": 1,
                "maxLength": 63,
            },
        },
    },
    "Gateway.spec.listeners.allowedRoutes.namespaces": {
        "type": "object",
        "properties": {
            "from": {"type": "string", "enum": ["All", "Selector", "Same"]},
            "selector": {"$ref": "Gateway.spec.allowedListeners.namespaces.selector"},
        },
    },
    "Gateway.spec.listeners.allowedRoutes": {
        "type": "object",
        "properties": {
            "kinds": {"type": "array", "maxItems": 8, "items": {"$ref": "Gateway.spec.listeners.allowedRoutes.kinds"}},
            "namespaces": {"$ref": "Gateway.spec.listeners.allowedRoutes.namespaces"},
        },
    },
    "Gateway.spec.listeners.filters.requests.externalAuth.backendRef": {
        "type": "object",
        "required": ["name"],
        "properties": {
            "group": {
                "type": "string",
                "pattern": "^$|^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$",
                "maxLength": 253,
            },
            "kind": {
                "type": "string",
                "pattern": "^[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?$",
                "minLength": 1,
                "maxLength": 63,
            },
            "name": {"type": "string", "minLength": 1, "maxLength": 253},
            "namespace": {
                "type": "string",
                "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$",
                "minLength": 1,
                "maxLength": 63,
            },
            "port": {"type": "integer", "minimum": 1, "maximum": 65535},
        },
    },
    "Gateway.spec.listeners.filters.requests.externalAuth.forwardBody": {
        "type": "object",
        "properties": {"maxSize": {"type": "integer", "minimum": 0}},
    },
    "Gateway.spec.listeners.filters.requests.externalAuth.grpc": {
        "type": "object",
        "properties": {
            "allowedHeaders": {
                "type": "array",
                "maxItems": 64,
                "x-kubernetes-list-type": "set",
                "items": {"type": "string"},
            }
        },
    },
    "Gateway.spec.listeners.filters.requests.externalAuth.http": {
        "type": "object",
        "properties": {
            "allowedHeaders": {
                "type": "array",
                "maxItems": 64,
                "x-kubernetes-list-type": "set",
                "items": {"type": "string"},
            },
            "allowedResponseHeaders": {
                "type": "array",
                "maxItems": 64,
                "x-kubernetes-list-type": "set",
                "items": {"type": "string"},
            },
            "path": {
                "type": "string",
                "pattern": "^(?:[-A-Za-z0-9/._~!$&'()*+,;=:@]|[%][0-9a-fA-F]{2})+$",
                "maxLength": 1024,
            },
        },
    },
    "Gateway.spec.listeners.filters.requests.externalAuth": {
        "type": "object",
        "required": ["backendRef", "protocol"],
        "properties": {
            "backendRef": {"$ref": "Gateway.spec.listeners.filters.requests.externalAuth.backendRef"},
            "forwardBody": {"$ref": "Gateway.spec.listeners.filters.requests.externalAuth.forwardBody"},
            "grpc": {"$ref": "Gateway.spec.listeners.filters.requests.externalAuth.grpc"},
            "http": {"$ref": "Gateway.spec.listeners.filters.requests.externalAuth.http"},
            "protocol": {"type": "string", "enum": ["HTTP", "GRPC"]},
        },
    },
    "Gateway.spec.listeners.filters.requests": {
        "type": "object",
        "required": ["type"],
        "properties": {
            "extensionRef": {"$ref": "Gateway.spec.infrastructure.parametersRef"},
            "externalAuth": {"$ref": "Gateway.spec.listeners.filters.requests.externalAuth"},
            "type": {"type": "string", "enum": ["ExternalAuth", "ExtensionRef"]},
        },
    },
    "Gateway.spec.listeners.filters": {
        "type": "object",
        "properties": {
            "requests": {"type": "array", "maxItems": 16, "items": {"$ref": "Gateway.spec.listeners.filters.requests"}}
        },
    },
    "Gateway.spec.listeners.tls.certificateRefs": {
        "type": "object",
        "required": ["name"],
        "properties": {
            "group": {
                "type": "string",
                "pattern": "^$|^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$",
                "maxLength": 253,
            },
            "kind": {
                "type": "string",
                "pattern": "^[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?$",
                "minLength": 1,
                "maxLength": 63,
            },
            "name": {"type": "string", "minLength": 1, "maxLength": 253},
            "namespace": {
                "type": "string",
                "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$",
                "minLength": 1,
                "maxLength": 63,
            },
        },
    },
    "Gateway.spec.listeners.tls": {
        "type": "object",
        "properties": {
            "certificateRefs": {
                "type": "array",
                "maxItems": 64,
                "items": {"$ref": "Gateway.spec.listeners.tls.certificateRefs"},
            },
            "mode": {"type": "string", "enum": ["Terminate", "Passthrough"]},
            "options": {
                "type": "object",
                "maxProperties": 16,
                "additionalProperties": {"type": "string", "minLength": 0, "maxLength": 4096},
            },
        },
    },
    "Gateway.spec.listeners": {
        "type": "object",
        "required": ["name", "port", "protocol"],
        "properties": {
            "allowedRoutes": {"$ref": "Gateway.spec.listeners.allowedRoutes"},
            "filters": {"$ref": "Gateway.spec.listeners.filters"},
            "hostname": {
                "type": "string",
                "pattern": "^(\\*\\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$",
                "minLength": 1,
                "maxLength": 253,
            },
            "name": {
                "type": "string",
                "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$",
                "minLength": 1,
                "maxLength": 253,
            },
            "port": {"type": "integer", "minimum": 1, "maximum": 65535},
            "protocol": {
                "type": "string",
                "pattern": "^[a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?$|[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*\\/[A-Za-z0-9]+$",
                "minLength": 1,
                "maxLength": 255,
            },
            "tls": {"$ref": "Gateway.spec.listeners.tls"},
        },
    },
    "Gateway.spec.tls.backend": {
        "type": "object",
        "properties": {"clientCertificateRef": {"$ref": "Gateway.spec.listeners.tls.certificateRefs"}},
    },
    "Gateway.spec.tls.frontend.default.validation": {
        "type": "object",
        "required": ["caCertificateRefs"],
        "properties": {
            "caCertificateRefs": {
                "type": "array",
                "minItems": 1,
                "maxItems": 16,
                "items": {"$ref": "GatewayClass.spec.parametersRef"},
            },
            "mode": {"type": "string", "enum": ["AllowValidOnly", "AllowInsecureFallback"]},
        },
    },
    "Gateway.spec.tls.frontend.default": {
        "type": "object",
        "properties": {"validation": {"$ref": "Gateway.spec.tls.frontend.default.validation"}},
    },
    "Gateway.spec.tls.frontend.perPort": {
        "type": "object",
        "required": ["port", "tls"],
        "properties": {
            "port": {"type": "integer", "minimum": 1, "maximum": 65535},
            "tls": {"$ref": "Gateway.spec.tls.frontend.default"},
        },
    },
    "Gateway.spec.tls.frontend": {
        "type": "object",
        "required": ["default"],
        "properties": {
            "default": {"$ref": "Gateway.spec.tls.frontend.default"},
            "perPort": {
                "type": "array",
                "maxItems": 64,
                "x-kubernetes-list-map-keys": ["port"],
                "items": {"$ref": "Gateway.spec.tls.frontend.perPort"},
            },
        },
    },
    "Gateway.spec.tls": {
        "type": "object",
        "properties": {
            "backend": {"$ref": "Gateway.spec.tls.backend"},
            "frontend": {"$ref": "Gateway.spec.tls.frontend"},
        },
    },
    "Gateway.spec": {
        "type": "object",
        "required": ["gatewayClassName", "listeners"],
        "properties": {
            "addresses": {"type": "array", "maxItems": 16, "items": {"$ref": "Gateway.spec.addresses"}},
            "allowedListeners": {"$ref": "Gateway.spec.allowedListeners"},
            "defaultScope": {"type": "string", "enum": ["All", "None"]},
            "gatewayClassName": {"type": "string", "minLength": 1, "maxLength": 253},
            "infrastructure": {"$ref": "Gateway.spec.infrastructure"},
            "listeners": {
                "type": "array",
                "minItems": 1,
                "maxItems": 64,
                "x-kubernetes-list-map-keys": ["name"],
                "items": {"$ref": "Gateway.spec.listeners"},
            },
            "tls": {"$ref": "Gateway.spec.tls"},
        },
    },
    "Gateway": {
        "type": "object",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"$ref": "V1ObjectMeta"},
            "spec": {"$ref": "Gateway.spec"},
            "status": {},
        },
    },
    "HTTPRoute.spec.parentRefs": {
        "type": "object",
        "required": ["name"],
        "properties": {
            "group": {
                "type": "string",
                "pattern": "^$|^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$",
                "maxLength": 253,
            },
            "kind": {
                "type": "string",
                "pattern": "^[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?$",
                "minLength": 1,
                "maxLength": 63,
            },
            "name": {"type": "string", "minLength": 1, "maxLength": 253},
            "namespace": {
                "type": "string",
                "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$",
                "minLength": 1,
                "maxLength": 63,
            },
            "port": {"type": "integer", "minimum": 1, "maximum": 65535},
            "sectionName": {
                "type": "string",
                "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$",
                "minLength": 1,
                "maxLength": 253,
            },
        },
    },
    "HTTPRoute.spec.rules.backendRefs.filters.cors": {
        "type": "object",
        "properties": {
            "allowCredentials": {"type": "boolean"},
            "allowHeaders": {
                "type": "array",
                "maxItems": 64,
                "x-kubernetes-list-type": "set",
                "items": {
                    "type": "string",
                    "pattern": "^[A-Za-z0-9!#$%&'*+\\-.^_\\x60|~]+$",
                    "minLength": 1,
                    "maxLength": 256,
                },
            },
            "allowMethods": {
                "type": "array",
                "maxItems": 9,
                "x-kubernetes-list-type": "set",
                "items": {
                    "type": "string",
                    "enum": ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "*"],
                },
            },
            "allowOrigins": {
                "type": "array",
                "maxItems": 64,
                "x-kubernetes-list-type": "set",
                "items": {
                    "type": "string",
                    "pattern": "(^\\*$)|(^(http(s)?):\\/\\/(((\\*\\.)?([a-zA-Z0-9\\-]+\\.)*[a-zA-Z0-9-]+|\\*)(:([0-9]{1,5}))?)$)",
                    "minLength": 1,
                    "maxLength": 253,
                },
            },
            "exposeHeaders": {
                "type": "array",
                "maxItems": 64,
                "x-kubernetes-list-type": "set",
                "items": {
                    "type": "string",
                    "pattern": "^[A-Za-z0-9!#$%&'*+\\-.^_\\x60|~]+$",
                    "minLength": 1,
                    "maxLength": 256,
                },
            },
            "maxAge": {"type": "integer", "minimum": 1},
        },
    },
    "HTTPRoute.spec.rules.backendRefs.filters.requestHeaderModifier.add": {
        "type": "object",
        "required": ["name", "value"],
        "properties": {
            "name": {
                "type": "string",
                "pattern": "^[A-Za-z0-9!#$%&'*+\\-.^_\\x60|~]+$",
                "minLength": 1,
                "maxLength": 256,
            },
            "value": {"type": "string", "pattern": "^[!-~]+([\\t ]?[!-~]+)*$", "minLength": 1, "maxLength": 4096},
        },
    },
    "HTTPRoute.spec.rules.backendRefs.filters.requestHeaderModifier": {
        "type": "object",
        "properties": {
            "add": {
                "type": "array",
                "maxItems": 16,
                "x-kubernetes-list-map-keys": ["name"],
                "items": {"$ref": "HTTPRoute.spec.rules.backendRefs.filters.requestHeaderModifier.add"},
            },
            "remove": {"type": "array", "maxItems": 16, "x-kubernetes-list-type": "set", "items": {"type": "string"}},
            "set": {
                "type": "array",
                "maxItems": 16,
                "x-kubernetes-list-map-keys": ["name"],
                "items": {"$ref": "HTTPRoute.spec.rules.backendRefs.filters.requestHeaderModifier.add"},
            },
        },
    },
    "HTTPRoute.spec.rules.backendRefs.filters.requestMirror.fraction": {
        "type": "object",
        "required": ["numerator"],
        "properties": {
            "denominator": {"type": "integer", "minimum": 1},
            "numerator": {"type": "integer", "minimum": 0},
        },
    },
    "HTTPRoute.spec.rules.backendRefs.filters.requestMirror": {
        "type": "object",
        "required": ["backendRef"],
        "properties": {
            "backendRef": {"$ref": "Gateway.spec.listeners.filters.requests.externalAuth.backendRef"},
            "fraction": {"$ref": "HTTPRoute.spec.rules.backendRefs.filters.requestMirror.fraction"},
            "percent": {"type": "integer", "minimum": 0, "maximum": 100},
        },
    },
    "HTTPRoute.spec.rules.backendRefs.filters.requestRedirect.path": {
        "type": "object",
        "required": ["type"],
        "properties": {
            "replaceFullPath": {"type": "string", "maxLength": 1024},
            "replacePrefixMatch": {"type": "string", "maxLength": 1024},
            "type": {"type": "string", "enum": ["ReplaceFullPath", "ReplacePrefixMatch"]},
        },
    },
    "HTTPRoute.spec.rules.backendRefs.filters.requestRedirect": {
        "type": "object",
        "properties": {
            "hostname": {
                "type": "string",
                "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$",
                "minLength": 1,
                "maxLength": 253,
            },
            "path": {"$ref": "HTTPRoute.spec.rules.backendRefs.filters.requestRedirect.path"},
            "port": {"type": "integer", "minimum": 1, "maximum": 65535},
            "scheme": {"type": "string", "enum": ["http", "https"]},
            "statusCode": {"type": "integer", "enum": [301, 302, 303, 307, 308]},
        },
    },
    "HTTPRoute.spec.rules.backendRefs.filters.urlRewrite": {
        "type": "object",
        "properties": {
            "hostname": {
                "type": "string",
                "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$",
                "minLength": 1,
                "maxLength": 253,
            },
            "path": {"$ref": "HTTPRoute.spec.rules.backendRefs.filters.requestRedirect.path"},
        },
    },
    "HTTPRoute.spec.rules.backendRefs.filters": {
        "type": "object",
        "required": ["type"],
        "properties": {
            "cors": {"$ref": "HTTPRoute.spec.rules.backendRefs.filters.cors"},
            "extensionRef": {"$ref": "Gateway.spec.infrastructure.parametersRef"},
            "externalAuth": {"$ref": "Gateway.spec.listeners.filters.requests.externalAuth"},
            "requestHeaderModifier": {"$ref": "HTTPRoute.spec.rules.backendRefs.filters.requestHeaderModifier"},
            "requestMirror": {"$ref": "HTTPRoute.spec.rules.backendRefs.filters.requestMirror"},
            "requestRedirect": {"$ref": "HTTPRoute.spec.rules.backendRefs.filters.requestRedirect"},
            "responseHeaderModifier": {"$ref": "HTTPRoute.spec.rules.backendRefs.filters.requestHeaderModifier"},
            "type": {
                "type": "string",
                "enum": [
                    "RequestHeaderModifier",
                    "ResponseHeaderModifier",
                    "RequestMirror",
                    "RequestRedirect",
                    "URLRewrite",
                    "ExtensionRef",
                    "CORS",
                    "ExternalAuth",
                ],
            },
            "urlRewrite": {"$ref": "HTTPRoute.spec.rules.backendRefs.filters.urlRewrite"},
        },
    },
    "HTTPRoute.spec.rules.backendRefs": {
        "type": "object",
        "required": ["name"],
        "properties": {
            "filters": {"type": "array", "maxItems": 16, "items": {"$ref": "HTTPRoute.spec.rules.backendRefs.filters"}},
            "group": {
                "type": "string",
                "pattern": "^$|^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$",
                "maxLength": 253,
            },
            "kind": {
                "type": "string",
                "pattern": "^[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?$",
                "minLength": 1,
                "maxLength": 63,
            },
            "name": {"type": "string", "minLength": 1, "maxLength": 253},
            "namespace": {
                "type": "string",
                "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$",
                "minLength": 1,
                "maxLength": 63,
            },
            "port": {"type": "integer", "minimum": 1, "maximum": 65535},
            "weight": {"type": "integer", "minimum": 0, "maximum": 1000000},
        },
    },
    "HTTPRoute.spec.rules.matches.headers": {
        "type": "object",
        "required": ["name", "value"],
        "properties": {
            "name": {
                "type": "string",
                "pattern": "^[A-Za-z0-9!#$%&'*+\\-.^_\\x60|~]+$",
                "minLength": 1,
                "maxLength": 256,
            },
            "type": {"type": "string", "enum": ["Exact", "RegularExpression"]},
            "value": {"type": "string", "pattern": "^[!-~]+([\\t ]?[!-~]+)*$", "minLength": 1, "maxLength": 4096},
        },
    },
    "HTTPRoute.spec.rules.matches.path": {
        "type": "object",
        "properties": {
            "type": {"type": "string", "enum": ["Exact", "PathPrefix", "RegularExpression"]},
            "value": {"type": "string", "maxLength": 1024},
        },
    },
    "HTTPRoute.spec.rules.matches.queryParams": {
        "type": "object",
        "required": ["name", "value"],
        "properties": {
            "name": {
                "type": "string",
                "pattern": "^[A-Za-z0-9!#$%&'*+\\-.^_\\x60|~]+$",
                "minLength": 1,
                "maxLength": 256,
            },
            "type": {"type": "string", "enum": ["Exact", "RegularExpression"]},
            "value": {"type": "string", "minLength": 1, "maxLength": 1024},
        },
    },
    "HTTPRoute.spec.rules.matches": {
        "type": "object",
        "properties": {
            "headers": {
                "type": "array",
                "maxItems": 16,
                "x-kubernetes-list-map-keys": ["name"],
                "items": {"$ref": "HTTPRoute.spec.rules.matches.headers"},
            },
            "method": {
                "type": "string",
                "enum": ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"],
            },
            "path": {"$ref": "HTTPRoute.spec.rules.matches.path"},
            "queryParams": {
                "type": "array",
                "maxItems": 16,
                "x-kubernetes-list-map-keys": ["name"],
                "items": {"$ref": "HTTPRoute.spec.rules.matches.queryParams"},
            },
        },
    },
    "HTTPRoute.spec.rules.retry": {
        "type": "object",
        "properties": {
            "attempts": {"type": "integer", "minimum": 0},
            "backoff": {"type": "string", "pattern": "^([0-9]{1,5}(h|m|s|ms)){1,4}$"},
            "codes": {
                "type": "array",
                "x-kubernetes-list-type": "set",
                "items": {"type": "integer", "minimum": 400, "maximum": 599},
            },
        },
    },
    "HTTPRoute.spec.rules.sessionPersistence.cookie": {
        "type": "object",
        "properties": {
            "lifetimeType": {"type": "string", "enum": ["Permanent", "Session"]},
            "name": {
                "type": "string",
                "pattern": "^[A-Za-z0-9!#$%&'*+\\-.^_\\x60|~]+$",
                "minLength": 1,
                "maxLength": 256,
            },
            "path": {"type": "string", "maxLength": 1024},
        },
    },
    "HTTPRoute.spec.rules.sessionPersistence.header": {
        "type": "object",
        "required": ["name"],
        "properties": {
            "name": {
                "type": "string",
                "pattern": "^[A-Za-z0-9!#$%&'*+\\-.^_\\x60|~]+$",
                "minLength": 1,
                "maxLength": 256,
            }
        },
    },
    "HTTPRoute.spec.rules.sessionPersistence": {
        "type": "object",
        "properties": {
            "absoluteTimeout": {"type": "string", "pattern": "^([0-9]{1,5}(h|m|s|ms)){1,4}$"},
            "cookie": {"$ref": "HTTPRoute.spec.rules.sessionPersistence.cookie"},
            "header": {"$ref": "HTTPRoute.spec.rules.sessionPersistence.header"},
            "type": {"type": "string", "enum": ["Cookie", "Header"]},
        },
    },
    "HTTPRoute.spec.rules.timeouts": {
        "type": "object",
        "properties": {
            "backendRequest": {"type": "string", "pattern": "^([0-9]{1,5}(h|m|s|ms)){1,4}$"},
            "request": {"type": "string", "pattern": "^([0-9]{1,5}(h|m|s|ms)){1,4}$"},
        },
    },
    "HTTPRoute.spec.rules": {
        "type": "object",
        "properties": {
            "backendRefs": {"type": "array", "maxItems": 16, "items": {"$ref": "HTTPRoute.spec.rules.backendRefs"}},
            "filters": {"type": "array", "maxItems": 16, "items": {"$ref": "HTTPRoute.spec.rules.backendRefs.filters"}},
            "matches": {"type": "array", "maxItems": 64, "items": {"$ref": "HTTPRoute.spec.rules.matches"}},
            "name": {
                "type": "string",
                "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$",
                "minLength": 1,
                "maxLength": 253,
            },
            "retry": {"$ref": "HTTPRoute.spec.rules.retry"},
            "sessionPersistence": {"$ref": "HTTPRoute.spec.rules.sessionPersistence"},
            "timeouts": {"$ref": "HTTPRoute.spec.rules.timeouts"},
        },
    },
    "HTTPRoute.spec": {
        "type": "object",
        "properties": {
            "hostnames": {
                "type": "array",
                "maxItems": 16,
                "items": {
                    "type": "string",
                    "pattern": "^(\\*\\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$",
                    "minLength": 1,
                    "maxLength": 253,
                },
            },
            "parentRefs": {"type": "array", "maxItems": 32, "items": {"$ref": "HTTPRoute.spec.parentRefs"}},
            "rules": {"type": "array", "minItems": 1, "maxItems": 16, "items": {"$ref": "HTTPRoute.spec.rules"}},
            "useDefaultGateways": {"type": "string", "enum": ["All", "None"]},
        },
    },
    "HTTPRoute": {
        "type": "object",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"$ref": "V1ObjectMeta"},
            "spec": {"$ref": "HTTPRoute.spec"},
            "status": {},
        },
    },
    "GRPCRoute.spec.rules.backendRefs.filters": {
        "type": "object",
        "required": ["type"],
        "properties": {
            "extensionRef": {"$ref": "Gateway.spec.infrastructure.parametersRef"},
            "requestHeaderModifier": {"$ref": "HTTPRoute.spec.rules.backendRefs.filters.requestHeaderModifier"},
            "requestMirror": {"$ref": "HTTPRoute.spec.rules.backendRefs.filters.requestMirror"},
            "responseHeaderModifier": {"$ref": "HTTPRoute.spec.rules.backendRefs.filters.requestHeaderModifier"},
            "type": {
                "type": "string",
                "enum": ["ResponseHeaderModifier", "RequestHeaderModifier", "RequestMirror", "ExtensionRef"],
            },
        },
    },
    "GRPCRoute.spec.rules.backendRefs": {
        "type": "object",
        "required": ["name"],
        "properties": {
            "filters": {"type": "array", "maxItems": 16, "items": {"$ref": "GRPCRoute.spec.rules.backendRefs.filters"}},
            "group": {
                "type": "string",
                "pattern": "^$|^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$",
                "maxLength": 253,
            },
            "kind": {
                "type": "string",
                "pattern": "^[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?$",
                "minLength": 1,
                "maxLength": 63,
            },
            "name": {"type": "string", "minLength": 1, "maxLength": 253},
            "namespace": {
                "type": "string",
                "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$",
                "minLength": 1,
                "maxLength": 63,
            },
            "port": {"type": "integer", "minimum": 1, "maximum": 65535},
            "weight": {"type": "integer", "minimum": 0, "maximum": 1000000},
        },
    },
    "GRPCRoute.spec.rules.matches.headers": {
        "type": "object",
        "required": ["name", "value"],
        "properties": {
            "name": {
                "type": "string",
                "pattern": "^[A-Za-z0-9!#$%&'*+\\-.^_\\x60|~]+$",
                "minLength": 1,
                "maxLength": 256,
            },
            "type": {"type": "string", "enum": ["Exact", "RegularExpression"]},
            "value": {"type": "string", "minLength": 1, "maxLength": 4096},
        },
    },
    "GRPCRoute.spec.rules.matches.method": {
        "type": "object",
        "properties": {
            "method": {"type": "string", "maxLength": 1024},
            "service": {"type": "string", "maxLength": 1024},
            "type": {"type": "string", "enum": ["Exact", "RegularExpression"]},
        },
    },
    "GRPCRoute.spec.rules.matches": {
        "type": "object",
        "properties": {
            "headers": {
                "type": "array",
                "maxItems": 16,
                "x-kubernetes-list-map-keys": ["name"],
                "items": {"$ref": "GRPCRoute.spec.rules.matches.headers"},
            },
            "method": {"$ref": "GRPCRoute.spec.rules.matches.method"},
        },
    },
    "GRPCRoute.spec.rules": {
        "type": "object",
        "properties": {
            "backendRefs": {"type": "array", "maxItems": 16, "items": {"$ref": "GRPCRoute.spec.rules.backendRefs"}},
            "filters": {"type": "array", "maxItems": 16, "items": {"$ref": "GRPCRoute.spec.rules.backendRefs.filters"}},
            "matches": {"type": "array", "maxItems": 64, "items": {"$ref": "GRPCRoute.spec.rules.matches"}},
            "name": {
                "type": "string",
                "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$",
                "minLength": 1,
                "maxLength": 253,
            },
            "sessionPersistence": {"$ref": "HTTPRoute.spec.rules.sessionPersistence"},
        },
    },
    "GRPCRoute.spec": {
        "type": "object",
        "properties": {
            "hostnames": {
                "type": "array",
                "maxItems": 16,
                "items": {
                    "type": "string",
                    "pattern": "^(\\*\\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$",
                    "minLength": 1,
                    "maxLength": 253,
                },
            },
            "parentRefs": {"type": "array", "maxItems": 32, "items": {"$ref": "HTTPRoute.spec.parentRefs"}},
            "rules": {"type": "array", "maxItems": 16, "items": {"$ref": "GRPCRoute.spec.rules"}},
            "useDefaultGateways": {"type": "string", "enum": ["All", "None"]},
        },
    },
    "GRPCRoute": {
        "type": "object",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"$ref": "V1ObjectMeta"},
            "spec": {"$ref": "GRPCRoute.spec"},
            "status": {},
        },
    },
    "ReferenceGrant.spec.from": {
        "type": "object",
        "required": ["group", "kind", "namespace"],
        "properties": {
            "group": {
                "type": "string",
                "pattern": "^$|^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$",
                "maxLength": 253,
            },
            "kind": {
                "type": "string",
                "pattern": "^[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?$",
                "minLength": 1,
                "maxLength": 63,
            },
            "namespace": {
                "type": "string",
                "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$",
                "minLength": 1,
                "maxLength": 63,
            },
        },
    },
    "ReferenceGrant.spec.to": {
        "type": "object",
        "required": ["group", "kind"],
        "properties": {
            "group": {
                "type": "string",
                "pattern": "^$|^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$",
                "maxLength": 253,
            },
            "kind": {
                "type": "string",
                "pattern": "^[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?$",
                "minLength": 1,
                "maxLength": 63,
            },
            "name": {"type": "string", "minLength": 1, "maxLength": 253},
        },
    },
    "ReferenceGrant.spec": {
        "type": "object",
        "required": ["from", "to"],
        "properties": {
            "from": {"type": "array", "minItems": 1, "maxItems": 16, "items": {"$ref": "ReferenceGrant.spec.from"}},
            "to": {"type": "array", "minItems": 1, "maxItems": 16, "items": {"$ref": "ReferenceGrant.spec.to"}},
        },
    },
    "ReferenceGrant": {
        "type": "object",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"$ref": "V1ObjectMeta"},
            "spec": {"$ref": "ReferenceGrant.spec"},
        },
    },
    "TLSRoute.spec.rules.backendRefs": {
        "type": "object",
        "required": ["name"],
        "properties": {
            "group": {
                "type": "string",
                "pattern": "^$|^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$",
                "maxLength": 253,
            },
            "kind": {
                "type": "string",
                "pattern": "^[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?$",
                "minLength": 1,
                "maxLength": 63,
            },
            "name": {"type": "string", "minLength": 1, "maxLength": 253},
            "namespace": {
                "type": "string",
                "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$",
                "minLength": 1,
                "maxLength": 63,
            },
            "port": {"type": "integer", "minimum": 1, "maximum": 65535},
            "weight": {"type": "integer", "minimum": 0, "maximum": 1000000},
        },
    },
    "TLSRoute.spec.rules": {
        "type": "object",
        "required": ["backendRefs"],
        "properties": {
            "backendRefs": {
                "type": "array",
                "minItems": 1,
                "maxItems": 16,
                "items": {"$ref": "TLSRoute.spec.rules.backendRefs"},
            },
            "name": {
                "type": "string",
                "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$",
                "minLength": 1,
                "maxLength": 253,
            },
        },
    },
    "TLSRoute.spec": {
        "type": "object",
        "required": ["hostnames", "rules"],
        "properties": {
            "hostnames": {
                "type": "array",
                "minItems": 1,
                "maxItems": 1024,
                "items": {
                    "type": "string",
                    "pattern": "^(\\*\\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$",
                    "minLength": 1,
                    "maxLength": 253,
                },
            },
            "parentRefs": {"type": "array", "maxItems": 32, "items": {"$ref": "HTTPRoute.spec.parentRefs"}},
            "rules": {"type": "array", "minItems": 1, "maxItems": 1, "items": {"$ref": "TLSRoute.spec.rules"}},
            "useDefaultGateways": {"type": "string", "enum": ["All", "None"]},
        },
    },
    "TLSRoute": {
        "type": "object",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"$ref": "V1ObjectMeta"},
            "spec": {"$ref": "TLSRoute.spec"},
            "status": {},
        },
    },
    "TLSRoute.v1alpha2.spec": {
        "type": "object",
        "required": ["rules"],
        "properties": {
            "hostnames": {
                "type": "array",
                "maxItems": 1024,
                "items": {
                    "type": "string",
                    "pattern": "^(\\*\\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$",
                    "minLength": 1,
                    "maxLength": 253,
                },
            },
            "parentRefs": {"type": "array", "maxItems": 32, "items": {"$ref": "HTTPRoute.spec.parentRefs"}},
            "rules": {"type": "array", "minItems": 1, "maxItems": 16, "items": {"$ref": "TLSRoute.spec.rules"}},
            "useDefaultGateways": {"type": "string", "enum": ["All", "None"]},
        },
    },
    "TLSRoute.v1alpha2": {
        "type": "object",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"$ref": "V1ObjectMeta"},
            "spec": {"$ref": "TLSRoute.v1alpha2.spec"},
            "status": {},
        },
    },
    "GatewayParameters.spec.exposure.service.nodePorts": {
        "type": "object",
        "required": ["port", "nodePort"],
        "properties": {
            "nodePort": {"type": "integer", "minimum": 1, "maximum": 65535},
            "port": {"type": "integer", "minimum": 1, "maximum": 65535},
        },
    },
    "GatewayParameters.spec.exposure.service": {
        "type": "object",
        "properties": {
            "allocateLoadBalancerNodePorts": {"type": "boolean"},
            "annotations": {
                "type": "object",
                "maxProperties": 64,
                "additionalProperties": {"type": "string", "maxLength": 4096},
            },
            "externalTrafficPolicy": {"type": "string", "enum": ["Cluster", "Local"]},
            "ipFamilies": {
                "type": "array",
                "minItems": 1,
                "maxItems": 2,
                "x-kubernetes-list-type": "set",
                "items": {"type": "string", "enum": ["IPv4", "IPv6"]},
            },
            "ipFamilyPolicy": {"type": "string", "enum": ["SingleStack", "PreferDualStack", "RequireDualStack"]},
            "labels": {
                "type": "object",
                "maxProperties": 64,
                "additionalProperties": {"type": "string", "maxLength": 63},
            },
            "loadBalancerClass": {"type": "string", "minLength": 1, "maxLength": 316},
            "loadBalancerSourceRanges": {
                "type": "array",
                "maxItems": 256,
                "x-kubernetes-list-type": "set",
                "items": {"type": "string", "maxLength": 43},
            },
            "nodePorts": {
                "type": "array",
                "maxItems": 64,
                "x-kubernetes-list-map-keys": ["port"],
                "items": {"$ref": "GatewayParameters.spec.exposure.service.nodePorts"},
            },
            "type": {"type": "string", "enum": ["LoadBalancer", "NodePort", "ClusterIP"]},
        },
    },
    "GatewayParameters.spec.exposure": {
        "type": "object",
        "required": ["type"],
        "properties": {
            "service": {"$ref": "GatewayParameters.spec.exposure.service"},
            "type": {"type": "string", "enum": ["Address", "Service", "HostPort"]},
        },
    },
    "GatewayParameters.spec": {
        "type": "object",
        "properties": {"exposure": {"$ref": "GatewayParameters.spec.exposure"}},
    },
    "GatewayParameters": {
        "type": "object",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"$ref": "V1ObjectMeta"},
            "spec": {"$ref": "GatewayParameters.spec"},
            "status": {},
        },
    },
    "LoadBalancerIPPool.spec.blocks": {
        "type": "object",
        "properties": {
            "cidr": {"type": "string", "minLength": 3, "maxLength": 43},
            "start": {"type": "string", "minLength": 2, "maxLength": 39},
            "stop": {"type": "string", "minLength": 2, "maxLength": 39},
        },
    },
    "LoadBalancerIPPool.spec.serviceSelector.matchExpressions": {
        "type": "object",
        "required": ["key", "operator"],
        "properties": {
            "key": {"type": "string", "minLength": 1, "maxLength": 317},
            "operator": {"type": "string", "enum": ["In", "NotIn", "Exists", "DoesNotExist"]},
            "values": {"type": "array", "maxItems": 64, "items": {"type": "string", "maxLength": 63}},
        },
    },
    "LoadBalancerIPPool.spec.serviceSelector": {
        "type": "object",
        "properties": {
            "matchExpressions": {
                "type": "array",
                "maxItems": 64,
                "items": {"$ref": "LoadBalancerIPPool.spec.serviceSelector.matchExpressions"},
            },
            "matchLabels": {
                "type": "object",
                "maxProperties": 64,
                "additionalProperties": {"type": "string", "maxLength": 63},
            },
        },
    },
    "LoadBalancerIPPool.spec": {
        "type": "object",
        "required": ["blocks"],
        "properties": {
            "allowFirstLastIPs": {"type": "string", "enum": ["Yes", "No"]},
            "blocks": {
                "type": "array",
                "minItems": 1,
                "maxItems": 64,
                "items": {"$ref": "LoadBalancerIPPool.spec.blocks"},
            },
            "disabled": {"type": "boolean"},
            "serviceSelector": {"$ref": "LoadBalancerIPPool.spec.serviceSelector"},
        },
    },
    "LoadBalancerIPPool": {
        "type": "object",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"$ref": "V1ObjectMeta"},
            "spec": {"$ref": "LoadBalancerIPPool.spec"},
            "status": {},
        },
    },
    "TCPRoute.spec": {
        "type": "object",
        "required": ["rules"],
        "properties": {
            "parentRefs": {"type": "array", "maxItems": 32, "items": {"$ref": "HTTPRoute.spec.parentRefs"}},
            "rules": {"type": "array", "minItems": 1, "maxItems": 1, "items": {"$ref": "TLSRoute.spec.rules"}},
            "useDefaultGateways": {"type": "string", "enum": ["All", "None"]},
        },
    },
    "TCPRoute": {
        "type": "object",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"$ref": "V1ObjectMeta"},
            "spec": {"$ref": "TCPRoute.spec"},
            "status": {},
        },
    },
    "TCPRoute.v1alpha2.spec": {
        "type": "object",
        "required": ["rules"],
        "properties": {
            "parentRefs": {"type": "array", "maxItems": 32, "items": {"$ref": "HTTPRoute.spec.parentRefs"}},
            "rules": {"type": "array", "minItems": 1, "maxItems": 16, "items": {"$ref": "TLSRoute.spec.rules"}},
            "useDefaultGateways": {"type": "string", "enum": ["All", "None"]},
        },
    },
    "TCPRoute.v1alpha2": {
        "type": "object",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"$ref": "V1ObjectMeta"},
            "spec": {"$ref": "TCPRoute.v1alpha2.spec"},
            "status": {},
        },
    },
    "UDPRoute": {"$ref": "TCPRoute"},
    "UDPRoute.v1alpha2": {"$ref": "TCPRoute.v1alpha2"},
    "L2AnnouncementPolicy.spec": {
        "type": "object",
        "properties": {
            "externalIPs": {"type": "boolean"},
            "interfaces": {
                "type": "array",
                "maxItems": 64,
                "items": {"type": "string", "minLength": 1, "maxLength": 256},
            },
            "loadBalancerIPs": {"type": "boolean"},
            "nodeSelector": {"$ref": "LoadBalancerIPPool.spec.serviceSelector"},
            "serviceSelector": {"$ref": "LoadBalancerIPPool.spec.serviceSelector"},
        },
    },
    "L2AnnouncementPolicy": {
        "type": "object",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"$ref": "V1ObjectMeta"},
            "spec": {"$ref": "L2AnnouncementPolicy.spec"},
        },
    },
}

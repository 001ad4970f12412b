# sed -f canary.sed kubernetes.yaml | kubectl apply -f -, after:
#   kubectl create configmap transferseg-canary-config --from-file=models.config ... with `stable` set to the new version.
# One pod of it beside the two: the Service `transferseg` sends it every third call, `transferseg-canary` all of its own.
s/track: stable/track: canary/
s/^  name: transferseg$/&-canary/
s/replicas: 2/replicas: 1/
s/name: transferseg-config/name: transferseg-canary-config/
s/selector: {app: transferseg}/selector: {app: transferseg, track: canary}/

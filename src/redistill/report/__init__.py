"""Tables, figures and progress lines for people."""



